"""Metrics that compare a map with what the score really loses if an object is removed from the scene."""

import numpy as np

from keras_explainable.metrics.case import Case
from keras_explainable.metrics.localisation import flat
from keras_explainable.metrics.masked import read, units_of
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.metrics.ranks import pearson


def effects(case: Case, units: int, quantity: str = "logit") -> np.ndarray:
    """What the quantity of each unit loses without each object, (B, K, O); NaN where there is no object."""
    assert case.objects is not None
    masks, images = case.objects

    def evaluated() -> np.ndarray:
        of = units_of(case, units)
        assert case.images is not None
        found = read(case, np.concatenate([case.images[:, None], images], axis=1), of, quantity).astype("float64")
        falls = np.moveaxis(found[:, :1] - found[:, 1:], 1, -1)
        return np.where(present(masks)[:, None], falls, np.nan)

    return case.once(("effects", quantity, units), evaluated)


def present(masks: np.ndarray) -> np.ndarray:
    """Whether masks (B, O, *S) have a pixel: (B, O)."""
    return np.asarray(masks.reshape(*masks.shape[:2], -1).any(axis=-1))


@metric("faithfulness", {"model", "objects"}, "higher", "O forward, shared by all maps", "0", "arXiv:2308.06248")
def single_deletion(case: Case, maps: np.ndarray, quantity: str = "logit") -> Measured:
    """The correlation, over the objects o of an image, of the map's sum over o with what the score loses without o.

    corr over o of sum over o of A, and s(x) - s(x redrawn without o)

    No pixels are filled: the image is drawn again without the object, as by `ke.demo.load_counterfactuals`, so the
    model sees images like those that it was trained on. NaN with fewer than two objects, and if all sums or all losses
    are equal. With two objects, the value is 1 or -1: whether the map ranks the two objects correctly.

    Args:
        quantity: see `ke.metrics`.

    Reference: Hesse et al., FunnyBirds: A Synthetic Vision Dataset for a Part-Based Analysis of Explainable AI Methods,
    arXiv:2308.06248.
    """
    assert case.objects is not None
    losses = effects(case, maps.shape[-1], quantity)
    masks = case.objects[0].reshape(*case.objects[0].shape[:2], -1)
    sums = np.einsum("bkp,bop->bko", flat(maps).astype("float64"), masks)
    values = np.full(losses.shape[:2], np.nan)
    for b, there in enumerate(present(case.objects[0])):
        if there.sum() > 1:
            values[b] = pearson(sums[b][:, there], losses[b][:, there])
    return Measured(values, {"loss": losses, "sum": sums})
