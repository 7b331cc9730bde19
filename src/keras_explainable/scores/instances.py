"""Scores of instance segmentation: which of the model's masks matches a mask, and how well."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from keras_explainable.errors import InputError
from keras_explainable.numerics.arrays import Array
from keras_explainable.scores.found import as_floats, best, on_each, read
from keras_explainable.scores.maps import as_mask, covers, on_grid
from keras_explainable.scores.score import Score, numbers

# The names of masks and scores in the outputs, and the scores' activation. If there is one, masks are logits as well,
# with a sigmoid.
KNOWN = {
    ("masks_queries_logits", "class_queries_logits"): "softmax",  # MaskFormer, Mask2Former, OneFormer, EoMT
    ("pred_masks", "logits"): "softmax",  # DETR for segmentation
    ("masks", "scores"): None,  # torchvision's Mask R-CNN
}


def instance(mask: Any, unit: int | Sequence[int] | None = None, iou: float = 0.0) -> Score:
    """How confident a model is about the object of a mask: the score of the predicted mask that matches it best.

    score[b, j] = max over predictions n of IoU(mask_j, s[b, n]) p[b, n, unit_j], and 0 if no IoU reaches `iou`
    IoU(m, s) = sum m s / sum (m + s - m s)

    s are the model's masks as probabilities, resized linearly to the given mask; p are the class probabilities. Without
    a unit, p is the highest of all classes. The score is differentiable with respect to both. Supported outputs are
    those of torchvision's Mask R-CNN ("masks", "scores" and "labels" of each image) and of Hugging Face's MaskFormer,
    Mask2Former, OneFormer ("masks_queries_logits", "class_queries_logits") and DETR ("pred_masks", "logits"), whose
    last class means "no object".

    Args:
        mask: (H, W) with values from 0 to 1, at the resolution of the model's masks or a finer one, such as the
            images'; or (M, H, W) for M scores.
        unit: the class; for several masks, one for all or one for each.
        iou: the smallest overlap that counts, 0 to 1.

    Raises:
        InputError: the mask is empty or coarser than the model's, or the outputs have no such parts.
    """
    array = as_mask("instance", mask)
    if len(array.shape) not in (2, 3):
        raise InputError(f"instance: a mask of shape {array.shape} came, and (H, W) or (M, H, W) was expected.")
    units, several = None if unit is None else numbers("unit", unit), array.shape[0] if len(array.shape) == 3 else 1
    if units is not None and len(units) not in (1, several):
        raise InputError(f"instance: {several} masks and {len(units)} units came: give one unit, or one for each mask.")
    return Score(_instance, (array, units, float(iou)))


def _instance(outputs: Any, mask: Array, units: tuple[int, ...] | None, least: float) -> Any:
    """The scores (B, M) of masks (see `instance`)."""

    def score(outputs: Any) -> Any:
        known = [names for names in KNOWN if isinstance(outputs, Mapping) and all(name in outputs for name in names)]
        if not known:
            has = ", ".join(map(repr, outputs)) if isinstance(outputs, Mapping) else f"a {type(outputs).__name__}"
            expected = "; ".join(" and ".join(map(repr, names)) for names in KNOWN)
            raise InputError(f"instance: the outputs are {has}, and a dictionary with {expected} was expected.")
        names, activation = known[0], KNOWN[known[0]]
        found = read(outputs, names[1], None, activation, no_object=activation is not None)
        s = as_floats(outputs[names[0]])
        s = s if activation is None else ops.sigmoid(s)
        s = ops.squeeze(s, 2) if len(s.shape) == 5 else s  # (B, N, H, W)
        space = tuple(s.shape[2:])
        if not covers(mask.shape, space):
            raise InputError(
                f"instance: a mask of shape {mask.shape} came for the model's of {space}, and one of their size or of "
                "more pixels was expected, such as the images'."
            )
        both, own = on_grid(mask.tensor, space), on_grid(ops.ones(mask.shape[-2:]), space)[0]
        common = ops.einsum("myx,bnyx->bmn", both, s)
        union = ops.sum(both, axis=(1, 2))[None, :, None] + ops.einsum("yx,bnyx->bn", own, s)[:, None] - common
        return best(common / union, least, found.of(units))

    return on_each(outputs, score)
