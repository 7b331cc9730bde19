"""Metrics of properties that some methods promise."""

from typing import Any

import numpy as np

from keras_explainable.metrics.case import Case
from keras_explainable.metrics.confidence import ends
from keras_explainable.metrics.localisation import flat
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.runtime.validation import check_number


@metric("axioms", {"model"}, "lower", "2 forward, shared by all maps", "depends on the map's scale", "arXiv:1703.01365")
def completeness(
    case: Case, maps: np.ndarray, baseline: Any = 0.0, quantity: str = "logit", least: float = 1e-6
) -> Measured:
    """How far the sum of the map is from the change of the score between the baseline and the image.

    |sum A - (s(x) - s(b))| / max(|s(x) - s(b)|, least)

    0 for methods that promise it (integrated gradients, DeepLIFT, LRP without a bias), if their baseline is given. Maps
    must be summed over channels, and not resized. For a method without a baseline, such as LRP or the full gradients,
    None compares with s(x) itself.

    Args:
        baseline: b (see `fill` in `ke.metrics`), or None.
        quantity: "logit", "probability" or "margin", what the method explains.
        least: the smallest denominator.

    Reference: Sundararajan et al., Axiomatic Attribution for Deep Networks, arXiv:1703.01365.
    """
    check_number("least", least, lambda e: e > 0, "a number above 0")
    found = ends(case, maps.shape, 0.0 if baseline is None else baseline, quantity).astype("float64")
    change = found[..., 0] - (0 if baseline is None else found[..., 1])
    total = flat(maps).sum(axis=-1, dtype="float64")
    return Measured(np.abs(total - change) / np.maximum(np.abs(change), least))
