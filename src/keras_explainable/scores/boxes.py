"""Targets of detectors: which detection agrees with a box, and how well."""

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
SAME = 0.999  # the overlap from which two boxes are the same one


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
    """How surely a detector finds an object in a box: the score of the detection that agrees with it best.

    score[b, j] = max over detections n of IoU(box_j, boxes[b, n]) p[b, n], and 0 where no IoU reaches `iou`

    p is scores[b, n, unit_j], or scores[b, n] where classes[b, n] == unit_j; without a unit the highest of all classes.
    It is differentiable with respect to the score and the corners of that detection. Where this is the box itself (to
    .999) the IoU is at its highest, so that only the score has a gradient.

    What torchvision's detectors give (a dictionary of "boxes", "scores" and "labels" for each image, of any number)
    and Hugging Face's (DETR and its kin: "pred_boxes" and "logits") is known by these keys.

    Args:
        box: (4,) in the layout and units of the model's boxes, or (M, 4) for M scores.
        unit: the class; of several boxes one for all, or one for each.
        iou: the smallest overlap that counts, 0 to 1.
        boxes, scores, classes: where other outputs have them: (batch, N, 4); (batch, N) or (batch, N, units); and with
            (batch, N) scores their (batch, N) classes, by themselves "classes" or "labels".
        layout: of boxes, "xyxy" (two corners, in any order of the axes), "xywh" (a corner and the size) or "cxcywh".
            By itself "xyxy", or "cxcywh" of Hugging Face's.
        activation: "sigmoid" or "softmax" of the scores first, where they are logits. Of Hugging Face's it must be
            said; by "softmax" the last unit is that there is no object, which is left out where there is no unit.
        size: (height, width) of the images, where `box` is two corners in pixels (as `post_process_object_detection`
            gives them) and the model's boxes are relative to the image.

    Raises:
        InputError: the outputs have no such parts; or they are Hugging Face's, and there is no activation, or pixels
            came and no size.
    """
    array = Array.of(box)
    if array.shape[-1:] != (4,) or len(array.shape) > 2:
        raise InputError(f"box: shape {array.shape} came, and (4,) or (M, 4) was expected.")
    if layout not in (None, *LAYOUTS):
        raise InputError(f"layout={layout!r}: use one of {', '.join(map(repr, LAYOUTS))}.")
    if activation not in (None, "sigmoid", "softmax"):
        raise InputError(f"activation={activation!r}: use 'sigmoid', 'softmax' or None.")
    units, several = None if unit is None else numbers("unit", unit), array.shape[0] if len(array.shape) == 2 else 1
    if units is not None and len(units) not in (1, several):
        raise InputError(f"box: {several} boxes and {len(units)} units came; give one unit, or one for each box.")
    scale = None if size is None else (float(size[0]), float(size[1]))
    return Score(_box, (array, units, float(iou), (boxes, scores, classes), layout, activation, scale))


def detection(
    outputs: Any, i: int | Sequence[int] = 0, iou: float = 0.0, *, size: Sequence[float] | None = None, **how: Any
) -> Labels:
    """What a detector found itself: a `y` by which each image is explained for its own detection i.

    score[b, j] = that of `box` for the box and the class of detection i_j of image b

    `y=ke.scores.detection(detector(images))` explains the surest one of each image. Box and class are those of the
    images as they came, and stay the same on perturbed copies of them.

    Args:
        outputs: what the detector gives of the images, or what `post_process_object_detection` makes of it.
        i: which detection, the surest being 0; several for a map of each.
        iou: the smallest overlap that counts, 0 to 1.
        size: (height, width), the target size of all images, where they were post-processed with one.
        how: boxes, scores, classes, layout and activation, as of `box`.

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
        pixels = np.array((1, 1) if size is None else size[::-1], "float32")
        sides = np.frombuffer(given.content, "float32").reshape(1, -1, 1, 4) / np.tile(pixels, 2)
        wanted = _corners(sides, own if size is None else "xyxy")
        if relative and wanted[1].max() > 1.5:
            raise InputError(
                f"box: it ends at {wanted[1].max():g}, and 'pred_boxes' of Hugging Face are relative to the image, 0 "
                "to 1: of a box in pixels, two corners, give size=(height, width) of the image."
            )
        overlap = _overlap(_corners(boxes[:, None], own), tuple(ops.convert_to_tensor(side) for side in wanted))
        overlap = ops.where(overlap >= SAME, ops.stop_gradient(overlap), overlap)
        return best(overlap, least, p)

    return on_each(outputs, score)


def _found(outputs: Any, names: tuple, layout: str | None, activation: str | None) -> tuple[Found, Any, str, bool]:
    """How likely the finds of a batch are, their boxes (B, N, 4), whose layout this is, and whether of 0 to 1."""
    if not isinstance(outputs, Mapping):
        raise InputError(
            f"box: outputs of type {type(outputs).__name__} came, and a dictionary with {names[0] or 'boxes'!r} and "
            f"{names[1] or 'scores'!r}, or a list of one for each image, was expected: of other outputs make such a "
            "dictionary first, as by score=lambda outputs: ke.scores.box(...)({'boxes': outputs[0], 'scores': "
            "outputs[1]})."
        )
    known = names[:2] == (None, None) and all(name in outputs for name in RELATIVE)
    if known and activation is None:
        raise InputError(
            "box: 'logits' of Hugging Face came, and it was not said how they become scores: give activation='softmax' "
            "of DETR, YOLOS and Table Transformer, whose last unit is that there is no object, or 'sigmoid' of "
            "Conditional and Deformable DETR, RT-DETR, D-FINE, OWL-ViT and Grounding DINO."
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
