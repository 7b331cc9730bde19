"""Scores of detectors: which detection matches a box, and how well."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError
from keras_explainable.numerics.arrays import Array
from keras_explainable.scores.found import Found, as_floats, best, of_each_image, on_each, read
from keras_explainable.scores.score import Labels, Score, numbers

LAYOUTS: dict[str, Callable] = {
    "xyxy": lambda low, other: (low, other),
    "xywh": lambda low, size: (low, low + size),
    "cxcywh": lambda centre, size: (centre - size / 2, centre + size / 2),
}
RELATIVE = "pred_boxes", "logits"  # what Hugging Face's detectors call their boxes and scores
SAME = 0.999  # the overlap from which two boxes count as the same


def box(
    box: Any,
    unit: int | Sequence[int] | None = None,
    iou: float = 0.0,
    *,
    boxes: str | None = None,
    scores: str | None = None,
    classes: str | None = None,
    layout: str | None = None,
    activation: str | None = None,
    size: Sequence[float] | None = None,
) -> Score:
    """How confident a detector is that an object is in a box: the score of the detection that matches the box best.

    score[b, j] = max over detections n of IoU(box_j, boxes[b, n]) p[b, n], and 0 if no IoU reaches `iou`

    p is scores[b, n, unit_j], or scores[b, n] where classes[b, n] == unit_j; without a unit, the highest of all
    classes. The score is differentiable with respect to the detection's score and corners. If the detection is the box
    itself (IoU of at least .999), the IoU is at its maximum, and only the detection's score has a gradient.

    The outputs of torchvision's detectors (for each image a dictionary of "boxes", "scores" and "labels", of any
    number) and of Hugging Face's (DETR and similar: "pred_boxes" and "logits") are recognised by these keys.

    Args:
        box: (4,) in the layout and units of the model's boxes, or (M, 4) for M scores.
        unit: the class; for several boxes, one for all or one for each.
        iou: the smallest overlap that counts, 0 to 1.
        boxes, scores, classes: the keys of other outputs, for (batch, N, 4); (batch, N) or (batch, N, units); and, with
            (batch, N) scores, their (batch, N) classes. By default the classes are at "classes" or "labels".
        layout: of boxes, "xyxy" (two corners, in any order of the axes), "xywh" (a corner and the size) or "cxcywh".
            The default is "xyxy", or "cxcywh" for Hugging Face.
        activation: "sigmoid" or "softmax" to apply to the scores first, if they are logits. It is required for Hugging
            Face. With "softmax" the last unit means "no object"; it is left out if there is no `unit`.
        size: (height, width) of the images, if `box` is two corners in pixels (as from `post_process_object_detection`)
            and the model's boxes are relative to the image.

    Raises:
        InputError: the outputs have no such parts; or they are Hugging Face's, and there is no activation, or pixels
            came without `size`.
    """
    array = Array.of(box)
    if array.shape[-1:] != (4,) or len(array.shape) > 2:
        raise InputError(f"box: shape {array.shape} came, and (4,) or (M, 4) was expected.")
    if layout not in (None, *LAYOUTS):
        raise InputError(f"layout={layout!r} came: use one of {', '.join(map(repr, LAYOUTS))}.")
    if activation not in (None, "sigmoid", "softmax"):
        raise InputError(f"activation={activation!r} came: use 'sigmoid', 'softmax' or None.")
    units, several = None if unit is None else numbers("unit", unit), array.shape[0] if len(array.shape) == 2 else 1
    if units is not None and len(units) not in (1, several):
        raise InputError(f"box: {several} boxes and {len(units)} units came: give one unit, or one for each box.")
    scale = None if size is None else (float(size[0]), float(size[1]))
    return Score(_box, (array, units, float(iou), (boxes, scores, classes), layout, activation, scale))


def detection(
    outputs: Any, i: int | Sequence[int] = 0, iou: float = 0.0, *, size: Sequence[float] | None = None, **how: Any
) -> Labels:
    """A `y` that explains each image for detection number i of that image.

    score[b, j] = that of `box` for the box and the class of detection i_j of image b

    `y=ke.scores.detection(detector(images))` explains the most confident detection of each image. Box and class are
    taken from the original images, and stay the same on perturbed copies.

    Args:
        outputs: the detector's outputs for the images, or what `post_process_object_detection` makes of them.
        i: which detection, 0 being the most confident; several for a map of each.
        iou: the smallest overlap that counts, 0 to 1.
        size: (height, width), the target size of all images, if they were post-processed with one.
        how: boxes, scores, classes, layout and activation, as in `box`.

    Raises:
        InputError: an image has fewer detections.
    """
    chosen, names = list(numbers("i", i)), tuple(map(how.get, ("boxes", "scores", "classes")))
    corners: list = []
    units: list = []
    for batch in of_each_image(outputs) or [outputs]:
        found, boxes, own, _ = _found(batch, names, "xyxy" if size else how.get("layout"), how.get("activation"))
        labels = ops.argmax(found.objects, axis=-1) if len(found.p.shape) == 3 else found.labels
        surest = np.argsort(-backend.to_host(found.of(None)[:, 0]), axis=-1, kind="stable")
        if surest.shape[1] <= max(chosen):
            raise InputError(
                f"detection: image {len(corners)} has {surest.shape[1]} detections, and number {max(chosen)}, counted "
                "from 0, was asked for: leave the image out, or lower the detector's threshold."
            )
        picked = surest[:, chosen]
        both = np.concatenate(_corners(backend.to_host(boxes), own), axis=-1)
        corners += [*np.take_along_axis(both, picked[..., None], axis=1)]
        units += [] if labels is None else [*np.take_along_axis(backend.to_host(labels), picked, axis=1)]
    y = np.arange(len(corners) * len(chosen)).reshape(len(corners), -1)
    unit = np.concatenate(units).tolist() if units else None
    return Labels(y, box(np.concatenate(corners), unit, iou, size=size or (1, 1), **how))


def _box(
    outputs: Any,
    given: Array,
    units: tuple[int, ...] | None,
    least: float,
    names: tuple,
    layout: str | None,
    activation: str | None,
    size: tuple[float, float] | None,
) -> Any:
    """The scores (B, M) of the `given` boxes (see `box`)."""

    def score(outputs: Any) -> Any:
        found, boxes, own, relative = _found(outputs, names, layout, activation)
        p = found.of(units)
        wanted = _given_corners(given, own, size)
        if relative:
            _check_relative(wanted)
        overlap = _overlap(_corners(boxes[:, None], own), tuple(ops.convert_to_tensor(side) for side in wanted))
        overlap = ops.where(overlap >= SAME, ops.stop_gradient(overlap), overlap)
        return best(overlap, least, p)

    return on_each(outputs, score)


def _given_corners(given: Array, layout: str, size: tuple[float, float] | None) -> tuple:
    """The low and high corners (1, M, 1, 2) of the given boxes, relative to the image if its `size` is known."""
    pixels = np.array((1, 1) if size is None else size[::-1], "float32")
    sides = np.frombuffer(given.content, "float32").reshape(1, -1, 1, 4) / np.tile(pixels, 2)
    return _corners(sides, layout if size is None else "xyxy")


def _check_relative(corners: tuple) -> None:
    """Raise if boxes that must be relative to the image are in pixels."""
    if corners[1].max() > 1.5:
        raise InputError(
            f"box: the box ends at {corners[1].max():g}, and 'pred_boxes' of Hugging Face are relative to the image "
            "(0 to 1): for a box in pixels, as two corners, give size=(height, width) of the image."
        )


def _found(outputs: Any, names: tuple, layout: str | None, activation: str | None) -> tuple[Found, Any, str, bool]:
    """The detections of a batch, their boxes (B, N, 4), the layout of these, and whether they are relative to the image
    (0 to 1)."""
    if not isinstance(outputs, Mapping):
        raise InputError(
            f"box: outputs of type {type(outputs).__name__} came, and a dictionary with {names[0] or 'boxes'!r} and "
            f"{names[1] or 'scores'!r}, or a list with one for each image, was expected: make such a dictionary of "
            "other outputs first, as in score=lambda outputs: ke.scores.box(...)({'boxes': outputs[0], 'scores': "
            "outputs[1]})."
        )
    known = names[:2] == (None, None) and all(name in outputs for name in RELATIVE)
    if known and activation is None:
        raise InputError(
            "box: 'logits' of Hugging Face came without activation=: give activation='softmax' for DETR, YOLOS and "
            "Table Transformer, whose last unit means \"no object\", or 'sigmoid' for Conditional and Deformable DETR, "
            "RT-DETR, D-FINE, OWL-ViT and Grounding DINO."
        )
    boxes, scores = (
        own or other for own, other in zip(names, RELATIVE if known else ("boxes", "scores"), strict=False)
    )
    missing = [name for name in (boxes, scores) if name not in outputs]
    if missing:
        has = ", ".join(map(repr, outputs))
        raise InputError(f"The model's outputs have no {missing[0]!r}; they are: {has}. Name it by boxes= or scores=.")
    no_object = (boxes, scores) == RELATIVE and activation == "softmax"
    found = read(outputs, scores, names[2], activation, no_object)
    return found, as_floats(outputs[boxes]), layout or ("cxcywh" if known else "xyxy"), known


def _corners(boxes: Any, layout: str) -> tuple:
    return LAYOUTS[layout](boxes[..., :2], boxes[..., 2:])


def _overlap(a: tuple, b: tuple) -> Any:
    """Intersection over union of boxes given by their low and high corners."""

    def area(low, high):
        return ops.prod(ops.maximum(high - low, 0.0), axis=-1)

    common = area(ops.maximum(a[0], b[0]), ops.minimum(a[1], b[1]))
    union = area(*a) + area(*b) - common
    return common / ops.where(union > 0, union, ops.ones_like(union))
