"""What to explain in place of a model's units: ready functions for `score=`, from its outputs to (batch, K) scores.

Each function here returns a `Score`, which equal arguments make equal, so that a method is compiled once for them; what
is in an array is part of the compiled program. A score with several columns gives a map for each of them, or with `y`
for the chosen ones: `score=ke.scores.region(masks, unit), y=np.arange(len(masks))` explains image i for mask i,
however images are batched.

`unit`, `top_k`, `margin`, `negated`, `binary` and `region` are scores of units: they take what the methods take without
`score`, the values before the model's last softmax or sigmoid. The others take the model's outputs as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.arrays import Array as Array
from keras_explainable.boxes import LAYOUTS
from keras_explainable.boxes import box as _box
from keras_explainable.errors import InputError


@dataclass(frozen=True)
class Score:
    """A function from a model's outputs to (batch, K) scores, with its arguments."""

    function: Callable
    arguments: tuple
    before_activation: bool = False  # whether it takes what is before the model's last softmax or sigmoid
    linear: bool = False  # whether it is linear in the units

    @property
    def units(self) -> tuple[int, ...] | None:
        """Which of the model's units its columns are, where it only chooses them."""
        return self.arguments[0] if self.function is _unit and self.before_activation else None

    def without_channels(self, rank: int, outputs: Any) -> int | None:
        """Where a region's outputs, of images with so many axes of space, lack the axis of their one channel."""
        if self.function is not _region or not ops.is_tensor(outputs) or len(outputs.shape) != rank + 1:
            return None
        return self.arguments[2] or -1

    @property
    def which(self) -> tuple:
        """The path of the output that it takes; () for the first one."""
        if self.function not in (_output, _negated):
            return ()
        *path, score = self.arguments
        return (*path, *getattr(score, "which", ()))

    def __call__(self, outputs: Any) -> Any:
        return self.function(outputs, *self.arguments)

    def __repr__(self) -> str:
        return f"ke.scores.{self.function.__name__.strip('_')}({', '.join(map(repr, self.arguments))})"


@dataclass(frozen=True, repr=False)
class Chosen(Score):
    """A choice of units, made once on the images as they came, and kept while a method perturbs them."""

    of: Score | None = None  # the score whose columns are chosen; None: the model's units

    def choose(self, scores: Any) -> Any:
        """The (batch, K) units for these scores of all units."""
        return self.function(scores, *self.arguments)

    def __call__(self, outputs: Any) -> Any:
        values = _rows(outputs) if self.of is None else self.of(outputs)
        return ops.take_along_axis(values, self.choose(values), axis=-1)

    def __repr__(self) -> str:
        return super().__repr__() + (f" of {self.of!r}" if self.of else "")


@dataclass(frozen=True)
class Labels:
    """A data set's own labels in the place of units, and the score whose columns they number."""

    y: Any
    score: Score


def unit(k: int | Sequence[int]) -> Score:
    """The score of unit k, as `y=k`; of several, a column for each.

    score[b, j] = f[b, k_j]
    """
    return Score(_unit, (_numbers("k", k),), True, linear=True)


def top_k(k: int = 1) -> Chosen:
    """The k units that the model scores highest on each image, the highest first.

    score[b, j] = f[b, u_bj], u_b the units in falling order of f(x)[b]

    The units are chosen on the images as they came and stay the same on perturbed copies of them. With `y`, its units
    are explained.
    """
    if not _is_count(k):
        raise InputError(f"top_k({k!r}): a number of units, 1 or more, was expected.")
    return Chosen(_top_k, (int(k),), True)


def margin(unit: int | Sequence[int], other: int | Sequence[int] | None = None) -> Score:
    """Why this unit and not the other: how far one score is above another.

    score[b, j] = f[b, unit_j] - f[b, other_j], or without `other` - max over all other units of f[b, .]
    """
    units = _numbers("unit", unit)
    others = None if other is None else _numbers("other", other)
    if others is not None and len(others) == 1:
        others *= len(units)
    if others is not None and len(others) != len(units):
        raise InputError(f"margin: {len(units)} units and {len(others)} others came; give one other, or one for each.")
    return Score(_margin, (units, others), True, linear=others is not None)


def negated(score: Callable | None = None) -> Score:
    """Why not: minus the score of each unit, as of the only one of a model of two classes against the positive class.

    score[b, j] = -f[b, j], f the values before the last softmax or sigmoid, or what `score` is. Of `top_k()` the units
    are those with the highest scores.
    """
    if isinstance(score, Chosen):
        other = _lowest if score.function is _top_k else _top_k
        return replace(score, function=other, of=negated(score.of))
    of_units = score is None or getattr(score, "before_activation", False)
    return Score(_negated, (score,), of_units, linear=score is None or getattr(score, "linear", False))


def binary(labels: Any = None) -> Any:
    """Both classes of a model of one unit, by the numbers that a data set gives them: 0 and 1.

    score[b, 0] = -z[b], score[b, 1] = z[b], z the value before the sigmoid; so `score=ke.scores.binary(), y=labels`
    explains each image for its own class, as batches do that bring such labels.

    Args:
        labels: (N,) or (N, 1) of 0 and 1: what comes then is a `y` for itself, `y=ke.scores.binary(labels)`.
    """
    score = Score(_binary, (), True, linear=True)
    if labels is None:
        return score
    labels = backend.to_host(labels) if ops.is_tensor(labels) else np.asarray(labels)
    return Labels(labels.astype("int32") if labels.dtype.kind == "b" else labels, score)


def region(mask: Any, unit: int, axis: int | None = None) -> Score:
    """A unit of a segmentation map, over a region of it.

    score[b, j] = sum over p of mask_j[p] f[b, p, unit] / sum over p of mask_j[p]

    Args:
        mask: (*S) at the resolution of the model's output, of booleans or weights; or (M, *S) for M scores. None: the
            pixels where the model prefers this unit, on each image that it sees; of one unit alone the foreground,
            where it is above 0 before the sigmoid.
        unit: the channel.
        axis: the channels' axis in the model's output: -1 as in Keras, 1 as in PyTorch; found where the mask's shape
            says it, and needed where there is no mask.

    Raises:
        InputError: the mask is empty or fits the output nowhere, or at both ends; or there is neither mask nor axis.
    """
    weights = None if mask is None else Array.of(mask)
    if weights is not None and not np.any(backend.to_host(weights.tensor)):
        raise InputError("region: the mask has no pixel in it.")
    if axis not in (None, -1, 1):
        raise InputError(f"region: axis={axis!r} came, and -1 (channels last) or 1 (channels first) was expected.")
    if mask is None and axis is None:
        raise InputError(
            "region: without a mask nothing tells where the outputs have their channels: give axis=-1 (last, as in "
            "Keras) or axis=1 (first, as in PyTorch)."
        )
    return Score(_region, (weights, *_numbers("unit", unit), axis), True)


def value(i: int | Sequence[int] = 0) -> Score:
    """A number that the model predicts: output i of a regression, as it is.

    score[b, j] = outputs[b, i_j]
    """
    return Score(_unit, (_numbers("i", i),))


def similarity(embedding: Any) -> Score:
    """How near the model's output is to an embedding: the cosine of the angle between them.

    score[b, j] = <outputs[b], e_j> / (|outputs[b]| |e_j|)

    Args:
        embedding: (D,), or (M, D) for M scores; outputs of a higher rank are flattened.
    """
    array = Array.of(embedding)
    if len(array.shape) not in (1, 2):
        raise InputError(f"similarity: an embedding of shape {array.shape} came, and (D,) or (M, D) was expected.")
    return Score(_similarity, (array,))


def output(which: int | str, score: Callable | None = None) -> Score:
    """One of a model's several outputs, by number or name.

    Args:
        which: the place in a list, the key of a dictionary, or the name of a field.
        score: what is made of that output, such as `value(2)`, which takes it as it is, or `margin(1, 2)`, which takes
            it before its last softmax or sigmoid; None: its columns, before that as well. Of `top_k()` the units are
            chosen on the images as they came.
    """
    if isinstance(score, Chosen):
        return replace(score, of=output(which, score.of))
    return Score(_output, (which, score), before_activation=score is None or getattr(score, "before_activation", False))


def box(
    box: Any,
    unit: int | None = None,
    iou: float = 0.0,
    *,
    boxes: str = "boxes",
    scores: str = "scores",
    classes: str = "classes",
    layout: str = "xyxy",
    activation: str | None = None,
) -> Score:
    """How surely a detector finds an object in a box: the score of the detection that agrees with it best.

    score[b, j] = max over detections n of IoU(box_j, boxes[b, n]) p[b, n], and 0 where no IoU reaches `iou`

    p is scores[b, n, unit], or scores[b, n] where classes[b, n] == unit; without a unit the highest of all classes. It
    is differentiable with respect to the score and the corners of that detection.

    Args:
        box: (4,) in the layout and units of the model's boxes, or (M, 4) for M scores.
        unit: the class.
        iou: the smallest overlap that counts, 0 to 1.
        boxes, scores, classes: where the model's output has them: (batch, N, 4); (batch, N) or (batch, N, units); and
            with (batch, N) scores their (batch, N) classes, or what is named "labels". A list with such an output for
            each image, of any N, is taken as well: that of torchvision's detectors, as it comes. Of DETR and YOLOS
            these are boxes="pred_boxes", scores="logits", layout="cxcywh", activation="softmax".
        layout: of boxes, "xyxy" (two corners, in any order of the axes), "xywh" (a corner and the size) or "cxcywh".
        activation: "sigmoid" or "softmax" of the scores first, where they are logits.

    Raises:
        InputError: the outputs have no such parts.
    """
    array = Array.of(box)
    if array.shape[-1:] != (4,) or len(array.shape) > 2:
        raise InputError(f"box: shape {array.shape} came, and (4,) or (M, 4) was expected.")
    if layout not in LAYOUTS:
        raise InputError(f"layout={layout!r}: use one of {', '.join(map(repr, LAYOUTS))}.")
    if activation not in (None, "sigmoid", "softmax"):
        raise InputError(f"activation={activation!r}: use 'sigmoid', 'softmax' or None.")
    chosen = None if unit is None else _numbers("unit", unit)[0]
    return Score(_box, (array, chosen, float(iou), (boxes, scores, classes), layout, activation))


def _output(outputs: Any, which: int | str, score: Callable | None) -> Any:
    if ops.is_tensor(outputs):
        if which != 0:
            raise InputError(f"The model returns one output, and {which!r} was asked for: leave ke.scores.output out.")
        outputs = (outputs,)  # its rows are images
    try:
        by_name = isinstance(which, str) and not isinstance(outputs, Mapping)
        found = getattr(outputs, str(which)) if by_name else outputs[which]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        listed = outputs if isinstance(outputs, Mapping) else range(len(outputs) if hasattr(outputs, "__len__") else 0)
        names = ", ".join(map(repr, listed)) or type(outputs).__name__
        raise InputError(f"The model's outputs have no {which!r}; they are: {names}.") from error
    return _rows(found) if score is None else score(found)


def _unit(outputs: Any, units: tuple[int, ...]) -> Any:
    values = _rows(outputs)
    _check(units, values.shape[-1])
    return ops.stack([values[:, k] for k in units], axis=1)


def _top_k(outputs: Any, k: int) -> Any:
    values = _rows(outputs)
    _check((k - 1,), values.shape[-1])
    return ops.cast(ops.top_k(values, k)[1], "int32")


def _lowest(outputs: Any, k: int) -> Any:
    return _top_k(-_rows(outputs), k)


def _negated(outputs: Any, score: Callable | None) -> Any:
    return -(_rows(outputs) if score is None else _float(score(outputs)))


def _binary(outputs: Any) -> Any:
    z = _rows(outputs)
    if z.shape[-1] not in (1, None):
        raise InputError(
            f"binary: the model has {z.shape[-1]} units, and one was expected, whose class is 1: leave score= out."
        )
    return ops.concatenate([-z, z], axis=1)


def _margin(outputs: Any, units: tuple[int, ...], others: tuple[int, ...] | None) -> Any:
    values = _rows(outputs)
    if others is not None:
        return _unit(values, units) - _unit(values, others)
    count = values.shape[-1]
    if count < 2:
        raise InputError(f"margin: the model has {count} unit, so there is no other to compare with.")
    rest = [ops.concatenate([values[:, :k], values[:, k + 1 :]], axis=1) for k in units]
    return _unit(values, units) - ops.stack([ops.max(r, axis=1) for r in rest], axis=1)


def _region(outputs: Any, mask: Array | None, unit: int, axis: int | None) -> Any:
    values = _float(outputs)
    shape = tuple(values.shape)
    if mask is None:
        _check((unit,), shape[axis])  # type: ignore[index]
        alone = shape[axis] == 1  # type: ignore[index]
        preferred = ops.take(values, 0, axis=axis) > 0 if alone else ops.argmax(values, axis=axis) == unit
        weights = ops.cast(preferred, "float32")[:, None]
    else:
        fits = [a for a, space in ((-1, shape[1:-1]), (1, shape[2:])) if mask.shape in (space, mask.shape[:1] + space)]
        if axis is None and len(fits) == 1:
            axis = fits[0]
        if axis not in fits:
            raise InputError(
                f"A mask of shape {mask.shape} came for outputs of shape {shape}: it must have their spatial shape, "
                "with the masks' number before it where there are several; and where both ends could be the channels, "
                "axis= must say which."
            )
        _check((unit,), shape[axis])
        weights = ops.reshape(mask.tensor, (1, -1, *(s for a, s in enumerate(shape) if a and a != axis % len(shape))))
    chosen = ops.take(values, unit, axis=axis)[:, None]
    space = tuple(range(2, len(shape)))
    weight = ops.sum(weights, axis=space)
    return ops.sum(chosen * weights, axis=space) / ops.where(weight != 0, weight, ops.ones_like(weight))


def _similarity(outputs: Any, embedding: Array) -> Any:
    values = _float(outputs)
    values = ops.reshape(values, (ops.shape(values)[0], -1))
    other = ops.reshape(embedding.tensor, (-1, embedding.shape[-1]))
    if None not in (values.shape[-1], other.shape[-1]) and values.shape[-1] != other.shape[-1]:
        raise InputError(f"Outputs of {values.shape[-1]} numbers came for an embedding of {other.shape[-1]}.")
    return _unit_length(values) @ ops.transpose(_unit_length(other))


def _unit_length(v: Any) -> Any:
    return v / ops.sqrt(ops.maximum(ops.sum(v * v, axis=-1, keepdims=True), 1e-24))


def _float(outputs: Any) -> Any:
    if isinstance(outputs, (list, tuple, dict)):
        many = list(outputs) if isinstance(outputs, dict) else f"{len(outputs)}"
        raise InputError(f"The model returns several outputs ({many}): choose one by ke.scores.output(which, score).")
    if outputs is None:
        raise InputError("None came, and outputs (batch, units) were expected: is a return missing?")
    return ops.cast(ops.convert_to_tensor(outputs), "float32")


def _rows(outputs: Any) -> Any:
    """Outputs as (batch, units)."""
    values = _float(outputs)
    if len(values.shape) not in (1, 2):
        raise InputError(f"Outputs of shape {tuple(values.shape)} came, and (batch, units) was expected.")
    return values[:, None] if len(values.shape) == 1 else values


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value > 0)


def _numbers(name: str, value: Any) -> tuple[int, ...]:
    numbers = np.atleast_1d(np.asarray(value))
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not numbers.size or numbers.min() < 0:
        raise InputError(
            f"{name}={value!r} came, and a unit's number (0 or more), or a sequence of them, was expected."
        )
    return tuple(int(n) for n in numbers)


def _check(units: tuple[int, ...], count: int | None) -> None:
    bad = [k for k in units if count is not None and k >= count]
    if bad:
        raise InputError(f"Unit {bad[0]} was asked for, and this output has units 0 to {count - 1}.")  # type: ignore[operator]
