"""What a score does when parts of the image are covered: masks are data, and one loop runs them, few at a time.

All methods here need nothing of a model but its scores. Copies x o m + baseline o (1 - m) of each image are evaluated,
a mask m being 1 where the image is seen. Their common parameters:

- `baseline`: what is behind the mask: "mean", each image's own mean colour, which lies in any range of images; or, in
  that range, a number, a colour (C,), or images.
- `at_once`: perturbed images that are evaluated together; at least one copy of each image of the batch is. None: 32,
  but fewer large ones on PyTorch's CPU, which is faster so. Maps do not depend on it.
- `score`, `indices`: see `ke.methods`.
"""

import functools
import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters, models
from keras_explainable.errors import InputError
from keras_explainable.methods.loops import (
    Rows,
    as_inputs,
    at_once_of,
    check_number,
    check_passes,
    check_repetitions,
    copies_of,
    seed_of,
    total_of,
)
from keras_explainable.numerics import random
from keras_explainable.registry import explainer
from keras_explainable.runtime.compile_cache import frozen, repeated, repeats
from keras_explainable.runtime.progress import counted


class Probe:
    """A model on covered copies of a batch of images.

    A mask function takes `rows` of what masks are made of, each (P, ...), and `places`, a tensor or None, and returns
    masks (P, *S) or (B, P, *S). What is compiled is kept under `key`, the images' size and the score, and would keep
    alive whatever it holds: no function here may hold a model or a view."""

    def __init__(self, model: Any, inputs: Any, indices: Any, score: Any, baseline: Any, at_once: int | None) -> None:
        self.view = models.view(model, inputs)
        self.model, self.score, self.at_once = model, score, at_once_of(at_once, self.view.x)
        self.x, self.units = self.view.x, models.units(model, inputs, indices, score)
        self.background = background(self.view, baseline)
        self.size = self.view.size
        evaluated = functools.partial(evaluate, score, self.view.taps.channels_first)
        self.change = functools.partial(changed, evaluated)
        self.scores = self._repeated("scores", evaluated)(self.x, self.units)  # of the images as they are

    def sum(self, key: Any, masks: Callable, rows: Rows, combine: Callable, places: Any = None) -> Any:
        """The sum over masks of what `combine(change, masks, live, *rows)` makes of the change of scores (B, P, K) that
        P masks cause. Rows that fill up the last P are zeros, and `live` (P,) is 0 there and otherwise 1."""
        change = self.change

        def step(subject, x, behind, units, scores, places, live, *rows):
            seen = masks(*rows, places)
            return combine(change(subject, x, behind, units, scores, seen), seen, live, *rows)

        run = functools.partial(self._repeated(key, step), *self._state(places))
        return total_of(run, self._chunks(rows), self.x)

    def changes(self, key: Any, masks: Callable, places: Any = None) -> Callable:
        """A function from rows to the change of scores (B, M, K) that each of their M masks causes."""
        change = self.change

        def step(subject, x, behind, units, scores, places, *rows):
            return change(subject, x, behind, units, scores, masks(*rows, places))

        run = functools.partial(self._repeated(key, step), *self._state(places))

        def evaluated(rows):
            steps = self._chunks(rows)
            parts = []
            for i in counted(range(steps.number)):
                _, *chunk = (ops.convert_to_tensor(row[0]) for row in steps.drawn(i, i + 1))
                parts.append(run(*chunk))
            return ops.concatenate(parts, axis=1)[:, : rows.number]

        return evaluated

    def _state(self, places: Any) -> tuple:
        return self.x, self.background, self.units, self.scores, places

    def _chunks(self, rows: Rows) -> Rows:
        """Rows (M, ...) as those of equal steps of P, filled up with zeros, behind `live` (P,), which is 0 there."""
        steps, together = copies_of(rows.number, self.x, self.at_once)

        def drawn(start, stop):
            first, last = start * together, min(stop * together, rows.number)
            fill = (stop - start) * together - (last - first)
            parts = (np.ones(last - first), *rows.drawn(first, last))
            padded = (np.concatenate([p, np.zeros((fill, *p.shape[1:]), p.dtype)]) for p in parts)
            return [p.reshape(stop - start, together, *p.shape[1:]).astype("float32") for p in padded]

        return Rows(steps, drawn)

    def _repeated(self, key: Any, step: Callable) -> Callable:
        if self.view.taps.black_box:  # a function is no program, and stays none
            return functools.partial(step, self.model)
        return repeated(step, frozen([key, self.size, self.score]), self.model, step, self.x)


def evaluate(score: Any, channels_first: bool, subject: Any, images: Any, units: Any) -> Any:
    """The scores of images (N, *S, C)."""
    return models.view(subject, as_inputs(images, channels_first), units, score).evaluate()[0]


def changed(evaluated: Callable, subject: Any, x: Any, behind: Any, units: Any, scores: Any, masks: Any) -> Any:
    """The scores (B, P, K) of images seen through masks, less those of the images as they are."""
    masks = masks[:, None] if len(masks.shape) == len(x.shape) - 1 else ops.moveaxis(masks, 1, 0)
    copies, seen = masks.shape[0], masks[..., None]  # (P, B or 1, *S, 1)
    images = x[None] * seen + behind[None] * (1 - seen)
    images = ops.reshape(images, (-1, *ops.shape(x)[1:]))
    units = None if units is None else ops.tile(units, (copies, 1))
    found = evaluated(subject, images, units)
    return ops.moveaxis(ops.reshape(found, (copies, -1, found.shape[-1])), 0, 1) - scores[:, None]


def background(view: models.View, baseline: Any) -> Any:
    """What is behind the masks, as (B or 1, *S or 1s, C or 1)."""
    if isinstance(baseline, str) and baseline == "mean":
        return ops.mean(view.x, axis=tuple(range(1, len(view.x.shape) - 1)), keepdims=True)
    given, fits = images_like(view, "baseline", baseline, "a number, a colour, images or 'mean'")
    number, batch = given.shape[0], view.x.shape[0]
    if fits and (number in (1, batch) or None in (number, batch)):
        return given
    hint = (
        f" Images came in a batch of {batch}: give one baseline for all of them, or one for each and all images in one "
        f"batch, as by batch_size={number}."
    )
    raise InputError(
        f"A baseline of shape {tuple(np.shape(baseline))} came for images of shape {tuple(view.inputs.shape)}: give a "
        f"number, a colour with a value for each channel, or images of their shape.{hint if fits else ''}"
    )


def behind_inputs(view: models.View, baseline: Any) -> Any:
    """`background` in the layout of the model's images."""
    return as_inputs(background(view, baseline), view.taps.channels_first)


def images_like(view: models.View, name: str, value: Any, expected: str) -> tuple[Any, bool]:
    """A number, a colour (C,), an image or several in the layout of the model's, as (N, *S or 1s, C or 1), channels
    last; and whether that is the shape they have."""
    try:
        given = value if ops.is_tensor(value) else np.asarray(value)
    except ValueError:  # lists of unequal lengths
        given = np.asarray(None)
    if not ops.is_tensor(given) and given.dtype.kind in "OSUmMc":
        raise InputError(f"{name}={value!r}: {expected} was expected.")
    if not ops.is_tensor(given) and given.dtype.kind == "u":  # of 64 bits, which not every framework has
        given = given.astype("float32")
    given, shape = ops.cast(ops.convert_to_tensor(given), "float32"), tuple(view.x.shape)
    front = view.taps.inputs.front
    if front is not None and len(given.shape) in (front.rank - 1, front.rank):
        given = front.canonical(given if len(given.shape) == front.rank else given[None])
    if len(given.shape) <= 1:
        given = ops.reshape(given, (1,) * (len(shape) - 1) + (-1,))
    else:
        given = given[None] if len(given.shape) == len(shape) - 1 else given
        given = ops.moveaxis(given, 1, -1) if view.taps.channels_first else given
    fits = len(given.shape) == len(shape) and given.shape[0] != 0
    return given, fits and all(g in (1, n) or None in (g, n) for g, n in zip(given.shape[1:], shape[1:], strict=True))


def sizes(name: str, value: Any, size: tuple) -> tuple[int, ...]:
    """A number for each spatial axis, from one number or as many, none above the axis's size."""
    if not all(isinstance(s, int) for s in size):
        raise InputError("Masks are made for images of one size: give images whose size is known.")
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * len(size)
    if len(given) != len(size) or not all(isinstance(v, (int, np.integer)) and v > 0 for v in given):
        raise InputError(f"{name}={value!r}: a number, or {len(size)} of them, 1 or more, was expected.")
    return tuple(min(int(v), s) for v, s in zip(given, size, strict=True))


def laid(change: Any, masks: Any) -> tuple:
    """The sums over P of change (B, P, K) times mask (P, *S), and of the masks: (B, *S, K) and (1, *S, 1)."""
    space = string.ascii_lowercase[: len(masks.shape) - 1]
    space = space.translate(str.maketrans("bkp", "xyz"))
    return ops.einsum(f"p{space},bpk->b{space}k", masks, change), ops.sum(masks, axis=0)[None, ..., None]


@repeats
@explainer(
    "perturbation", "black box", "(1 + windows) forward", "arXiv:1311.2901", postprocessing=filters.positive_normalize
)
def occlusion(
    model: Any,
    inputs: Any,
    indices: Any = None,
    score: Any = None,
    *,
    patch: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    baseline: Any = "mean",
    at_once: int | None = None,
) -> tuple:
    """How much the score falls when a patch is covered: simple, and true to any model.

    maps[b, s, k] = mean over the windows w that cover s of f(x)[b, k] - f(x with w covered)[b, k]

    Windows begin at every multiple of the stride; the last ones end with the image. The authors cover with gray, and
    not with the image's mean colour.

    Args:
        patch: the window's size in pixels, for all axes or each; by default a seventh of the image.
        stride: the distance of windows, at most the patch; by default half the patch.
        baseline, at_once: see `ke.methods.perturbation`.

    Reference: Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, arXiv:1311.2901.
    """
    probe = Probe(model, inputs, indices, score, baseline, at_once)
    size = probe.size
    patches = sizes("patch", tuple(-(-s // 7) for s in sizes("size", size, size)) if patch is None else patch, size)
    strides = sizes("stride", tuple(-(-p // 2) for p in patches) if stride is None else stride, size)
    if any(s > p for s, p in zip(strides, patches, strict=True)):
        raise InputError(f"stride={strides} is above patch={patches}: some pixels would never be covered.")
    counts = tuple(-(-(n - p) // s) + 1 for n, p, s in zip(size, patches, strides, strict=True))
    number = math.prod(counts)
    check_passes(f"Windows of {patches} every {strides} pixels", number, "give a larger stride=")

    def masks(start, places):
        covered = 1.0
        for axis, (n, p) in enumerate(zip(size, patches, strict=True)):
            at = ops.arange(n, dtype="float32") - start[:, axis : axis + 1]
            inside = ops.cast((at >= 0) & (at < p), "float32")
            covered = covered * ops.reshape(inside, (-1, *(n if a == axis else 1 for a in range(len(size)))))
        return 1.0 - covered

    def combine(change, seen, live, start):
        return laid(-change, (1 - seen) * ops.reshape(live, (-1, *(1,) * len(size))))

    def starts(start, stop):
        return [np.stack(np.unravel_index(np.arange(start, stop), counts), axis=-1) * strides]

    total, count = probe.sum(["occlusion", patches], masks, Rows(number, starts), combine)
    return probe.scores, total / count


@repeats
@explainer("perturbation", "black box", "(1 + n) forward", "arXiv:1806.07421", postprocessing=filters.normalize)
def rise(
    model: Any,
    inputs: Any,
    indices: Any = None,
    score: Any = None,
    *,
    repetitions: int = 1000,
    grid: int | Sequence[int] = 7,
    p: float = 0.5,
    baseline: Any = "mean",
    at_once: int | None = None,
    seed: int | None = None,
) -> tuple:
    """How high the score is on average when a pixel is seen, among images seen through random soft masks.

    maps[b, s, k] = sum_m f(x o M_m)[b, k] M_m[s] / sum_m M_m[s], an estimate of E[f(x o M) | s is seen]

    A mask is a grid of cells, each seen with probability p, linearly resized to one cell more than the image and cut
    out at random. The authors divide by n p, to which the sum of the masks tends, and multiply images by masks, which
    is baseline=0.0.

    Args:
        repetitions: n, the number of masks.
        grid: cells along all axes or each.
        baseline, at_once: see `ke.methods.perturbation`.

    Reference: Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, arXiv:1806.07421.
    """
    check_repetitions(repetitions)
    check_number("p", p, lambda p: 0 < p < 1, "a probability between 0 and 1")
    seed = seed_of(seed)
    probe = Probe(model, inputs, indices, score, baseline, at_once)
    size, cells = probe.size, sizes("grid", grid, probe.size)
    rows = Rows(repetitions, lambda start, stop: rise_rows(stop - start, cells, size, p, seed, start))

    def masks(seen, shift, places):
        return shifted(seen, shift, cells, size)

    def combine(change, seen, live, *rows):
        return laid(change, seen * ops.reshape(live, (-1, *(1,) * len(cells))))

    total, count = probe.sum(["rise", cells], masks, rows, combine)
    change = total / ops.where(count > 0, count, ops.ones_like(count))  # none where no mask shows a pixel
    return probe.scores, ops.expand_dims(probe.scores, tuple(range(1, 1 + len(cells)))) + change


def rise_rows(number: int, cells: tuple, size: tuple, p: float, seed: int, first: int = 0) -> list[np.ndarray]:
    """Which cells are seen, (M, *cells), and by how many pixels the masks are shifted, (M, axes), from mask `first`."""
    cell, axes = np.array([-(-n // g) for n, g in zip(size, cells, strict=True)]), len(size)
    seen = random.on_host((number, *cells), seed, 0, 0, first * math.prod(cells)) < p
    shift = random.on_host((number, axes), seed, 0, 1, first * axes)
    return [seen.astype("float32"), np.floor(shift * cell).astype("float32")]


def shifted(seen: Any, shift: Any, cells: tuple, size: tuple) -> Any:
    """Cells (P, *cells) resized to (g + 1) pixels-per-cell along each axis, and cut to `size` after `shift` pixels."""
    letters = "abcd"[: len(size)]
    for axis, (n, g) in enumerate(zip(size, cells, strict=True)):
        whole = (g + 1) * -(-n // g)
        at = (ops.arange(n, dtype="float32") + shift[:, axis : axis + 1] + 0.5) * (g / whole) - 0.5
        at = ops.clip(at, 0.0, g - 1.0)[..., None]  # (P, n, 1)
        weights = ops.maximum(1 - ops.abs(at - ops.arange(g, dtype="float32")), 0.0)
        a = letters[axis]
        seen = ops.einsum(f"pz{a},p{letters}->p{letters.replace(a, 'z')}", weights, seen)
    return seen
