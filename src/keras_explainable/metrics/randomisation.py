"""Metrics of how much maps depend on the model's weights and on the unit: maps that do not change with these do not
explain them."""

from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.localisation import flat, where_defined
from keras_explainable.metrics.masked import units_of
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.metrics.other_weights import HOW, randomised
from keras_explainable.metrics.ranks import spearman
from keras_explainable.numerics import random
from keras_explainable.runtime.validation import check_choice, check_number

NEEDS = {"model", "method", "weights"}
IGNORANT = "1 for maps that do not depend on the model"
HEDSTROM = "arXiv:2401.06465"


def _correlations(case: Case, explain: Any, maps: np.ndarray, how: str, stages: int) -> Measured:
    """The mean over stages of Spearman's correlation with the maps of the randomised model, and all of them."""
    check_choice("how", how, HOW)
    check_number("stages", stages, lambda n: float(n).is_integer() and 1 <= n <= 100, "a whole number from 1 to 100")
    own = flat(maps)
    found = np.stack([_alike(own, other) for other in randomised(case, explain, how, int(stages))], axis=-1)
    return Measured(found.mean(axis=-1), {"correlation": found})


def _alike(own: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Spearman's correlation (B, K) of maps (B, K, P) with others (B, *S, K). NaN where these are not finite."""
    others = flat(maps)
    return where_defined(spearman(own, np.nan_to_num(others)), np.isfinite(others).all(axis=-1))


@metric("randomisation", NEEDS, "lower", "stages x the method", IGNORANT, "arXiv:1810.03292")
def mprt(case: Case, maps: np.ndarray, how: str = "permute", stages: int = 5) -> Measured:
    """Spearman's correlation of the map with those of the model with random weights: model parameter randomisation.

    mean over stages of corr(rank A, rank A'), A' the map with random weights in the last 1/5, 2/5, ..., all layers

    `curves["correlation"]` has each stage; in the last one, all weights are random. Scale, shift and statistics of
    normalisations stay as they are. The model itself is not changed: random weights are arguments of its programs, or
    belong to a copy of a module. NaN for constant maps.

    Args:
        how: "permute" puts the elements of each weight into a random order, which keeps their distribution. "normal"
            draws normal numbers with the mean and standard deviation of the weight. "reinitialize" draws Glorot's
            uniform numbers, and uses zeros for biases. The draws depend on the seed, and are the same on every backend.
        stages: the number of steps in which the layers are randomised, from the output to the input.

    Reference: Adebayo et al., Sanity Checks for Saliency Maps, arXiv:1810.03292.
    """
    return _correlations(case, case.explain, maps, how, stages)


@metric("randomisation", NEEDS, "lower", "repetitions x (stages + 1) x the method", IGNORANT, HEDSTROM)
def smprt(
    case: Case,
    maps: np.ndarray,
    how: str = "permute",
    stages: int = 5,
    repetitions: int = 20,
    noise: float = 0.1,
) -> Measured:
    """`mprt` of the method's mean over noisy copies of the image, which removes the effect of noise in gradients.

    The maps are those of `ke.methods.meta.smooth(method, repetitions, noise, "range")`.

    Args:
        how, stages: as in `mprt`.
        repetitions, noise: as in `meta.smooth`; the noise is a share of the range of each image.

    Reference: Hedström et al., Sanity Checks Revisited: An Exploration to Repair the Model Parameter Randomisation
    Test, arXiv:2401.06465.
    """
    assert case.explain is not None and case.view is not None
    smooth = case.explain.smoothed(repetitions, noise)  # type: ignore[attr-defined]
    return _correlations(case, smooth, smooth(case.view), how, stages)


@metric("randomisation", NEEDS, "higher", "1 x the method", "0 for maps that do not depend on the model", HEDSTROM)
def emprt(case: Case, maps: np.ndarray, how: str = "permute", bins: int = 100) -> Measured:
    """How much more complex the map becomes when all weights are random.

    (H(A') - H(A)) / H(A), with H the entropy of the histogram of a map's values between its least and its largest one

    NaN for a constant map.

    Args:
        how: as in `mprt`.
        bins: of the histogram.

    Reference: Hedström et al., Sanity Checks Revisited: An Exploration to Repair the Model Parameter Randomisation
    Test, arXiv:2401.06465.
    """
    check_choice("how", how, HOW)
    check_number("bins", bins, lambda n: float(n).is_integer() and 2 <= n <= 10**6, "a whole number, two or more,")
    (others,) = randomised(case, case.explain, how)
    before, after = (_entropy(flat(values), int(bins)) for values in (maps, others))
    return Measured(where_defined(after - before, before > 0, before))


def _entropy(values: np.ndarray, bins: int) -> np.ndarray:
    """The entropies (B, K) of the histograms of values (B, K, P). NaN where they are not finite."""

    def of_one(row: np.ndarray) -> float:
        if not np.isfinite(row).all():
            return np.nan
        counts = np.histogram(row.astype("float64"), bins)[0] if row.min() < row.max() else np.array([row.size])
        shares = counts[counts > 0] / row.size
        return float(-(shares * np.log(shares)).sum()) + 0.0

    return np.apply_along_axis(of_one, -1, values)


@metric("randomisation", {"model", "method"}, "lower", "1 x the method", "1 for maps of the image", "arXiv:1912.09818")
def random_logit(case: Case, maps: np.ndarray) -> Measured:
    """Spearman's correlation of the map with that of another unit, which is drawn at random.

    corr(rank A_k, rank A_j), j != k

    1 for a method that explains all units alike. All units of an image are explained in one call. NaN for constant
    maps, and for models with one unit.

    Reference: Sixt et al., When Explanations Lie: Why Many Modified BP Attributions Fail, arXiv:1912.09818.
    """
    view, explain = case.view, case.explain
    assert view is not None and explain is not None
    number = case.once("units", view.unit_count)
    if number < 2:
        return Measured(np.full((len(maps), maps.shape[-1]), np.nan))
    units = units_of(case, number)
    moved = 1 + np.floor(random.on_host((number,), case.seed, 0, 51) * (number - 1)).astype("int32")
    others = (units + moved[units]) % number
    if view.indices is None:
        found = np.take(maps, others[0], axis=-1)
    else:
        kind = backend.to_host(view.indices).dtype
        found = explain(view.of(view.inputs, ops.convert_to_tensor(others.astype(kind))))
    return Measured(_alike(flat(maps), found))
