"""Deletion and insertion curves, and what is computed from the area under them."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, models
from keras_explainable.methods.repetition import as_inputs, computed, copies_of
from keras_explainable.methods.validation import at_once_of, check_number
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.fill import filling
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.metrics.order import order, removed
from keras_explainable.metrics.quantities import check_quantity, link_of, of_scores
from keras_explainable.runtime.compile_cache import Program, frozen, repeated
from keras_explainable.runtime.progress import counted

NOTHING = (0, 0)  # the part without a pixel
CURVE = "arXiv:1806.07421"


@dataclass(frozen=True)
class Removed(Program):
    """A quantity (B, P) of P copies of each image, each with the pixels of some ranks removed."""

    fill: Program
    quantity: str
    link: str

    def __call__(self, view: models.View, start: Any, ranks: Any, units: Any, low: Any, high: Any) -> Any:
        """The pixels with low <= rank < high are removed: ranks (B, *S), units (B, 1), low and high (P,)."""
        x, number = view.x, low.shape[0]
        bounds = (number, *(1,) * len(ranks.shape))
        inside = (ranks[None] >= ops.reshape(low, bounds)) & (ranks[None] < ops.reshape(high, bounds))
        copies = self.fill(x, start, ops.cast(inside, "float32"))
        flat = as_inputs(ops.reshape(copies, (-1, *x.shape[1:])), view.adapter.channels_first)
        every = view.of(flat, None).evaluate()[0]
        found = of_scores(every, ops.tile(units, (number, 1)), self.quantity, self.link)
        return ops.transpose(ops.reshape(found, (number, -1)))


def quantities(
    case: Case, maps: np.ndarray, parts: list[tuple[int, int]], fill: Any, quantity: str, noise: float = 0.0
) -> np.ndarray:
    """The quantity (B, K, T) of each image without the pixels whose ranks lie in each of the T parts [low, high).

    The image itself and the image without any of its pixels do not depend on maps: they are evaluated once for all."""
    check_quantity(quantity)
    view = case.view
    assert view is not None
    program, start = filling(case, fill, noise)
    run = repeated(Removed(program, quantity, link_of(view)), view.of(view.inputs, None))
    ranks, units = order(maps, case.seed), units_of(view, maps.shape[-1])
    ends = [part for part in dict.fromkeys(parts) if part in (NOTHING, (0, math.prod(maps.shape[1:-1])))]
    others = [part for part in dict.fromkeys(parts) if part not in ends]
    columns = []
    for k in counted(range(maps.shape[-1])):
        evaluated = functools.partial(_evaluated, case, run, start, ranks[..., k], units[:, k : k + 1])
        key = "ends", frozen(fill), noise, quantity, k
        found = evaluated(others) | case.once((*key, *ends), functools.partial(evaluated, ends))
        columns.append(np.stack([found[part] for part in parts], axis=-1))
    return np.stack(columns, axis=1)


def _evaluated(case: Case, run: Callable, start: Any, ranks: np.ndarray, units: np.ndarray, parts: list) -> dict:
    """The quantity (B,) of each image without each part of its pixels."""
    view = case.view
    if not parts or view is None:
        return {}
    steps, together = copies_of(len(parts), view.x, at_once_of(case.at_once, view.x))
    padded = np.array([*parts, *[parts[-1]] * (steps * together - len(parts))], "int32")
    tensors = start, ops.convert_to_tensor(ranks.astype("int32")), ops.convert_to_tensor(units)
    found = []
    for i in range(steps):
        low, high = (ops.convert_to_tensor(side) for side in padded[i * together : (i + 1) * together].T)
        found += computed([run(*tensors, low, high)])
    return dict(zip(parts, np.concatenate([backend.to_host(f) for f in found], axis=1).T, strict=False))


def first(counts: np.ndarray) -> list[tuple[int, int]]:
    """The parts that deletion removes: the first ranks."""
    return [(0, int(count)) for count in counts]


def last(counts: np.ndarray, of: int) -> list[tuple[int, int]]:
    """The parts that insertion removes: all but the first ranks."""
    return [(int(count), of) if count < of else NOTHING for count in counts]


def units_of(view: models.View, number: int) -> np.ndarray:
    """The units of a view as integers (B, K); every unit if none were chosen."""
    batch = int(view.inputs.shape[0])
    if view.indices is None:
        return np.tile(np.arange(number, dtype="int32"), (batch, 1))
    return np.asarray(backend.to_host(view.chosen())).astype("int32").reshape(batch, -1)


def area(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The area under curves (..., T) over shares (..., T), by the trapezoidal rule, divided by the length."""
    widths = np.diff(shares)
    return ((values[..., 1:] + values[..., :-1]) / 2 * widths).sum(axis=-1) / widths.sum(axis=-1)


def _shares(points: Any) -> np.ndarray:
    check_number("points", points, lambda n: float(n).is_integer() and 2 <= n <= 1000, "a whole number from 2 to 1000")
    return np.linspace(0, 1, int(points))


def _measured(case: Case, maps: np.ndarray, shares: np.ndarray, names: tuple, *how: Any) -> dict[str, np.ndarray]:
    """The curves "deletion" and "insertion" (B, K, T), and the "share" of pixels that was truly removed or shown."""
    count = math.prod(maps.shape[1:-1])
    counts = removed(count, shares)
    parts = {"deletion": first(counts), "insertion": last(counts, count)}
    found = quantities(case, maps, [part for name in names for part in parts[name]], *how)
    curves = dict(zip(names, np.split(found, len(names), axis=-1), strict=True))
    return curves | {"share": np.broadcast_to(counts / count, curves[names[0]].shape)}


def _area(curves: dict[str, np.ndarray], name: str) -> np.ndarray:
    return area(curves[name], curves["share"])


@metric("faithfulness", {"model"}, "lower", "T forward", "(s(x) + s(filled)) / 2 for a linear model", CURVE)
def deletion(
    case: Case, maps: np.ndarray, fill: Any = "mean", points: int = 20, quantity: str = "probability"
) -> Measured:
    """The area under the score while the pixels with the largest values are removed first.

    D = integral over q of s(x with the share q of pixels removed, largest first)

    Args:
        fill: what is put in place of removed pixels (see `ke.metrics`).
        points: T, the number of shares q from 0 to 1.
        quantity: "probability", "logit", "margin" or "accuracy".

    Reference: Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, arXiv:1806.07421.
    """
    curves = _measured(case, maps, _shares(points), ("deletion",), fill, quantity)
    return Measured(_area(curves, "deletion"), curves)


@metric("faithfulness", {"model"}, "higher", "T forward", "(s(x) + s(filled)) / 2 for a linear model", CURVE)
def insertion(
    case: Case, maps: np.ndarray, fill: Any = "blur", points: int = 20, quantity: str = "probability"
) -> Measured:
    """The area under the score while the pixels with the largest values are shown first.

    I = integral over q of s(x with all but the share q of pixels removed, the largest shown)

    The authors blur with 11 pixels (sigma 5), which leaves much of a large image visible.

    Args:
        fill, points, quantity: as in `deletion`.

    Reference: Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, arXiv:1806.07421.
    """
    curves = _measured(case, maps, _shares(points), ("insertion",), fill, quantity)
    return Measured(_area(curves, "insertion"), curves)


@metric("faithfulness", {"model"}, "higher", "(2T - 2) forward", "0", "arXiv:2401.06654")
def srg(case: Case, maps: np.ndarray, fill: Any = "mean", points: int = 20, quantity: str = "probability") -> Measured:
    """The symmetric relevance gain: the area between the insertion and the deletion curve, with the same fill.

    srg = I - D

    It is 0 on average for a random order, for any model: an order and its reverse are equally likely, and a map with
    the opposite sign has the opposite value.

    Args:
        fill, points, quantity: as in `deletion`.

    Reference: Blücher et al., Decoupling Pixel Flipping and Occlusion Strategy for Consistent XAI Benchmarks,
    arXiv:2401.06654.
    """
    curves = _measured(case, maps, _shares(points), ("deletion", "insertion"), fill, quantity)
    return Measured(_area(curves, "insertion") - _area(curves, "deletion"), curves)


@metric("faithfulness", {"model"}, "higher", "18 forward", "0", "arXiv:2202.00449")
def road(case: Case, maps: np.ndarray, noise: float = 0.01, quantity: str = "probability") -> Measured:
    """Remove and debias: `srg` over the shares .1 to .9, where removed pixels become the mean of their neighbours.

    Pixels filled in this way do not show the shape of the mask. The authors add noise of .01 whatever the range of the
    images; here it is relative to it.

    Args:
        noise: the standard deviation of the noise, relative to each image's range.
        quantity: as in `deletion`.

    Reference: Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, arXiv:2202.00449.
    """
    check_number("noise", noise, lambda n: 0 <= n < 1, "a number from 0 to 1")
    shares = np.arange(1, 10) / 10
    curves = _measured(case, maps, shares, ("deletion", "insertion"), "linear", quantity, float(noise))
    return Measured(_area(curves, "insertion") - _area(curves, "deletion"), curves)
