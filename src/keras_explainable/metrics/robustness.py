"""Metrics of how much maps change with small noise in the image, or with the seed. They describe maps, and do not rank
them: a map that never changes has perfect values here, even if it shows nothing."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_explainable import backend, models
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.localisation import flat, where_defined
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.metrics.quantities import link_of
from keras_explainable.metrics.ranks import spearman
from keras_explainable.numerics import random
from keras_explainable.runtime.compile_cache import Program, repeated
from keras_explainable.runtime.repetition import as_inputs, scores_of
from keras_explainable.runtime.validation import check_choice, check_number, check_repetitions

COST = "n x the method, and n forward"
STILL = "0 for maps that do not depend on the image"
OF = ("input", "output", "signal")
YEH, AGARWAL = "arXiv:1901.09392", "arXiv:2203.06877"


@dataclass(frozen=True)
class Noise:
    """Uniform noise in images: `repetitions` draws, from -`noise` to `noise` times the range of each image."""

    repetitions: int
    noise: float

    def check(self) -> None:
        """Raise if it is not valid."""
        check_repetitions(self.repetitions)
        check_number("noise", self.noise, lambda r: 0 < r < 1, "a share of the image's range between 0 and 1")

    def copies(self, case: Case) -> Iterator[np.ndarray]:
        """The noisy images (B, *S, C) of each draw. All images have the same draws, relative to their range."""
        assert case.images is not None
        axes, shape = tuple(range(1, case.images.ndim)), (1, *case.images.shape[1:])
        reach = np.float32(self.noise) * np.ptp(case.images, axis=axes, keepdims=True)
        for step in range(self.repetitions):
            yield case.images + reach * (2 * random.on_host(shape, case.seed, step, 31) - 1)


class Changes(NamedTuple):
    """How maps change with noise: the norms (B, K, J) of the difference in each draw, and of the difference divided by
    the map, value by value; the norm of the map (B, K, 1); and the draws (B, 1, J) that keep the prediction."""

    difference: np.ndarray
    by_value: np.ndarray
    size: np.ndarray
    kept: np.ndarray

    def largest(self, values: np.ndarray) -> Measured:
        """The largest of values (B, K, J) over the draws that are kept. NaN if there are none, or the map is 0."""
        return self.measured(np.where(self.kept, values, 0).max(axis=-1))

    def mean(self, values: np.ndarray) -> Measured:
        """The mean of values (B, K, J) over the draws that are kept. NaN if there are none, or the map is 0."""
        number = np.maximum(self.kept.sum(axis=-1), 1)
        return self.measured(np.where(self.kept, values, 0).sum(axis=-1) / number)

    def measured(self, values: np.ndarray) -> Measured:
        defined = self.kept.any(axis=-1) & (self.size[..., 0] > 0)
        return Measured(where_defined(values, defined), about={"kept": self.kept.mean(axis=(1, 2))})


def norm(values: np.ndarray) -> np.ndarray:
    """The Euclidean norm of values along the last axis."""
    return np.sqrt((values.astype("float64") ** 2).sum(axis=-1))


def rows(values: np.ndarray) -> np.ndarray:
    """Values (B, ...) as (B, P), in float64."""
    return values.reshape(len(values), -1).astype("float64")


def by_value(change: np.ndarray, of: np.ndarray, least: float) -> np.ndarray:
    """A change (..., P) divided by the values that change. These count as at least `least` times the largest one."""
    size = np.abs(of)
    size = np.maximum(size, least * size.max(axis=-1, keepdims=True))
    return change / np.where(size > 0, size, 1)


def _scores(case: Case, noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """The scores of all units for the images, (B, U), and for their noisy copies, (J, B, U)."""
    view = case.view
    assert view is not None

    def evaluated() -> tuple[np.ndarray, np.ndarray]:
        first = view.adapter.channels_first
        found = [backend.to_host(scores_of(view.of(as_inputs(x, first)))) for x in (case.images, *noise.copies(case))]
        return found[0], np.stack(found[1:])

    return case.once(("noisy scores", noise), evaluated)


def _predictions(case: Case, scores: np.ndarray) -> np.ndarray:
    """What a model predicts, from scores (..., U): the unit with the largest score, or the sign of the score if there
    is one unit."""
    assert case.view is not None
    if scores.shape[-1] > 1:
        return scores.argmax(axis=-1)
    return scores[..., 0] > 0 if link_of(case.view) == "sigmoid" else np.zeros(scores.shape[:-1], bool)


def noisy(case: Case, noise: Noise) -> Iterator[Any]:
    """The images of each draw, as the model takes them."""
    assert case.view is not None
    for images in noise.copies(case):
        yield as_inputs(images, case.view.adapter.channels_first)


def kept(case: Case, noise: Noise) -> np.ndarray:
    """Whether each draw keeps the prediction of each image: (B, 1, J)."""
    before, after = (_predictions(case, scores) for scores in _scores(case, noise))
    return (after == before).T[:, None]


def _changes(case: Case, maps: np.ndarray, repetitions: int, noise: float, least: float = 1e-6) -> Changes:
    """How maps change with noise. They are made once for all metrics of the same maps."""
    drawn = Noise(repetitions, noise)
    drawn.check()
    check_number("least", least, lambda e: 0 < e < 1, "a number between 0 and 1")
    view, explain = case.view, case.explain
    assert view is not None and explain is not None
    stays, before = kept(case, drawn), flat(maps).astype("float64")

    def made() -> tuple[np.ndarray, np.ndarray]:
        found = np.zeros((2, *before.shape[:2], repetitions))
        for j, images in enumerate(drawn.copies(case)):
            if stays[..., j].any():
                after = explain(view.of(as_inputs(images, view.adapter.channels_first), view.indices))
                change = flat(after) - before
                found[..., j] = norm(change), norm(by_value(change, before, least))
        return found[0], found[1]

    digest = hashlib.blake2b(np.ascontiguousarray(maps).tobytes()).digest()
    key = "noisy maps", getattr(explain, "key", explain), digest, drawn, least
    difference, of_values = case.once(key, made)
    return Changes(difference, of_values, norm(before)[..., None], stays)


@metric("robustness", {"model", "method"}, "", COST, STILL, YEH)
def max_sensitivity(case: Case, maps: np.ndarray, repetitions: int = 10, noise: float = 0.02) -> Measured:
    """The largest relative change of the map with small noise in the image.

    max over j of |A(x + d_j) - A(x)| / |A(x)|, with d_j uniform from -r to r, and Euclidean norms

    Only draws that do not change the prediction count: the unit with the largest score, or the sign of the logit if
    there is one unit. `about["kept"]` is their share. NaN if there are none, and for a map of zeros.

    Args:
        repetitions: the number of draws, which all images share.
        noise: r, as a share of the range of each image.

    Reference: Yeh et al., On the (In)fidelity and Sensitivity of Explanations, arXiv:1901.09392.
    """
    found = _changes(case, maps, repetitions, noise)
    return found.largest(where_defined(found.difference, found.size > 0, found.size))


@metric("robustness", {"model", "method"}, "", COST, STILL, YEH)
def avg_sensitivity(case: Case, maps: np.ndarray, repetitions: int = 10, noise: float = 0.02) -> Measured:
    """The mean relative change of the map with small noise in the image.

    mean over j of |A(x + d_j) - A(x)| / |A(x)|, with draws and NaN as in `max_sensitivity`

    Args:
        repetitions, noise: as in `max_sensitivity`.

    Reference: after Yeh et al., On the (In)fidelity and Sensitivity of Explanations, arXiv:1901.09392.
    """
    found = _changes(case, maps, repetitions, noise)
    return found.mean(where_defined(found.difference, found.size > 0, found.size))


@metric("robustness", {"model", "method"}, "", COST, STILL, "arXiv:1806.08049")
def local_lipschitz(case: Case, maps: np.ndarray, repetitions: int = 10, noise: float = 0.02) -> Measured:
    """The largest change of the map relative to that of the image: a lower bound of its Lipschitz constant there.

    max over j of |A(x + d_j) - A(x)| / |d_j|, with draws and NaN as in `max_sensitivity`

    It depends on the scale of the map and of the image.

    Args:
        repetitions, noise: as in `max_sensitivity`.

    Reference: Alvarez-Melis & Jaakkola, On the Robustness of Interpretability Methods, arXiv:1806.08049.
    """
    found = _changes(case, maps, repetitions, noise)
    assert case.images is not None
    reach = [norm(rows(x) - rows(case.images)) for x in Noise(repetitions, noise).copies(case)]
    return found.largest(found.difference / np.maximum(np.stack(reach, axis=-1)[:, None], np.finfo("float64").tiny))


@dataclass(frozen=True)
class Signal(Program):
    """A hidden signal of a view."""

    layer: Any

    def __call__(self, view: models.View) -> Any:
        point = view.signal(self.layer)
        return view.evaluate([point])[1][point]


def _reaches(case: Case, noise: Noise, of: str, layer: Any, elementwise: bool, least: float) -> np.ndarray:
    """The relative change (B, 1, J) of the input, the output or a hidden signal in each draw."""
    view, images = case.view, case.images
    assert view is not None and images is not None

    def signal(x: np.ndarray) -> np.ndarray:
        seen = view.of(as_inputs(x, view.adapter.channels_first))
        return backend.to_host(repeated(Signal(layer), seen)())

    def evaluated() -> np.ndarray:
        before, after = _scores(case, noise) if of == "output" else (images, noise.copies(case))
        if of == "signal":
            before, after = signal(before), map(signal, after)
        start, found = rows(before), []
        for value in after:
            change = rows(value) - start
            if elementwise:
                found.append(norm(change if of == "output" else by_value(change, start, least)))
            else:
                size = norm(start)
                found.append(norm(change) / np.where(size > 0, size, 1))
        return np.stack(found, axis=-1)[:, None]

    key = "reaches", noise, of, str(layer), elementwise, least
    return case.once(key, evaluated)


@metric("robustness", {"model", "method"}, "", COST, STILL, AGARWAL)
def relative_stability(
    case: Case,
    maps: np.ndarray,
    of: str = "input",
    repetitions: int = 10,
    noise: float = 0.02,
    layer: Any = None,
    elementwise: bool = False,
    least: float = 1e-6,
) -> Measured:
    """The largest relative change of the map over that of the image, of the model's scores or of a hidden signal.

    max over j of (|A(x + d_j) - A(x)| / |A(x)|) / max(|v(x + d_j) - v(x)| / |v(x)|, least)

    Draws and NaN are as in `max_sensitivity`.

    Args:
        of: v: the "input" x, the "output", which are the scores of all units, or the "signal" of a layer.
        layer: for "signal", the layer, as methods take it. None is the layer that methods explain by default.
        elementwise: True is the authors' definition: each element of a change is divided by the element that changes,
            and the norm is taken afterwards; scores are not divided at all. Elements near 0 then dominate, so `least`
            times the largest element is used in their place.
        least: the smallest denominator.
        repetitions, noise: as in `max_sensitivity`.

    Reference: Agarwal et al., Rethinking Stability for Attribution-based Explanations, arXiv:2203.06877.
    """
    check_choice("of", of, OF)
    found = _changes(case, maps, repetitions, noise, least)
    change = found.by_value if elementwise else where_defined(found.difference, found.size > 0, found.size)
    reach = _reaches(case, Noise(repetitions, noise), of, layer, bool(elementwise), least)
    return found.largest(change / np.maximum(reach, least))


@metric("robustness", {"model", "method"}, "", "n x the method", "1 for methods without a seed", "arXiv:2003.08754")
def seed_stability(case: Case, maps: np.ndarray, repetitions: int = 10) -> Measured:
    """The mean of Spearman's correlations of the map with those that other seeds give.

    mean over j of corr(rank A, rank A_j)

    1 for a method without a seed. NaN for a constant map.

    Args:
        repetitions: the number of other seeds.

    Reference: after Bansal et al., SAM: The Sensitivity of Attribution Methods to Hyperparameters, arXiv:2003.08754.
    """
    check_repetitions(repetitions)
    view, explain = case.view, case.explain
    assert view is not None and explain is not None
    before = flat(maps)
    number = repetitions if getattr(explain, "is_seeded", True) else 0
    others = [flat(explain(view, case.seed + j)) for j in range(1, number + 1)]
    return Measured(np.mean([spearman(before, other) for other in others or [before]], axis=0))
