"""Targets of detectors: which detection agrees with a box, and how well."""

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

from keras_explainable.arrays import Array
from keras_explainable.errors import InputError
from keras_explainable.scores.score import Score, numbers

LAYOUTS: dict[str, Callable] = {
    "xyxy": lambda low, other: (low, other),
    "xywh": lambda low, size: (low, low + size),
    "cxcywh": lambda centre, size: (centre - size / 2, centre + size / 2),
}


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
    chosen = None if unit is None else numbers("unit", unit)[0]
    return Score(_box, (array, chosen, float(iou), (boxes, scores, classes), layout, activation))


def _box(outputs: Any, given: Any, unit: int | None, least: float, names: tuple, layout: str, activation: Any) -> Any:
    """The scores (B, M) of the `given` boxes (see `ke.scores.box`)."""
    if isinstance(outputs, (list, tuple)) and all(isinstance(one, Mapping) for one in outputs):  # one for each image
        batched = ({k: v[None] for k, v in one.items() if ops.is_tensor(v)} for one in outputs)
        return ops.concatenate([_box(one, given, unit, least, names, layout, activation) for one in batched])
    if not isinstance(outputs, Mapping):
        raise InputError(
            f"box: outputs of type {type(outputs).__name__} came, and a dictionary with {names[0]!r} and {names[1]!r}, "
            "or a list of one for each image, was expected: of other outputs make such a dictionary first, as by "
            "score=lambda outputs: ke.scores.box(...)({'boxes': outputs[0], 'scores': outputs[1]})."
        )
    missing = [name for name in names[:2] if name not in outputs]
    if missing:
        has = ", ".join(map(repr, outputs))
        raise InputError(f"The model's outputs have no {missing[0]!r}; they are: {has}. Name it by boxes= or scores=.")
    p = ops.cast(ops.convert_to_tensor(outputs[names[1]]), "float32")
    p = getattr(ops, activation)(p) if activation else p
    if len(p.shape) == 3:
        if unit is not None and unit >= p.shape[-1]:
            raise InputError(f"Unit {unit} was asked for, and this output has units 0 to {p.shape[-1] - 1}.")
        p = ops.max(p, axis=-1) if unit is None else p[..., unit]
    elif unit is not None:
        named = "labels" if names[2] == "classes" and "classes" not in outputs else names[2]
        if named not in outputs:
            raise InputError(f"The model's outputs have no {names[2]!r} to tell unit {unit} by: name it by classes=.")
        p = p * ops.cast(ops.cast(ops.convert_to_tensor(outputs[named]), "int32") == unit, "float32")
    found = ops.cast(ops.convert_to_tensor(outputs[names[0]]), "float32")[:, None]  # (B, 1, N, 4)
    wanted = ops.reshape(given.tensor, (1, -1, 1, 4))
    overlap = _overlap(*(LAYOUTS[layout](corners[..., :2], corners[..., 2:]) for corners in (found, wanted)))
    agreement = ops.where(overlap >= least, overlap, ops.zeros_like(overlap)) * p[:, None]
    nothing = ops.zeros((ops.shape(found)[0], wanted.shape[1], 1))  # also where there is no detection at all
    return ops.max(ops.concatenate([agreement, nothing], axis=-1), axis=-1)


def _overlap(a: tuple, b: tuple) -> Any:
    """Intersection over union of boxes given by their low and high corners."""

    def area(low, high):
        return ops.prod(ops.maximum(high - low, 0.0), axis=-1)

    common = area(ops.maximum(a[0], b[0]), ops.minimum(a[1], b[1]))
    union = area(*a) + area(*b) - common
    return common / ops.where(union > 0, union, ops.ones_like(union))
