"""SmoothGrad, VarGrad and SquareGrad: gradients of noisy copies."""

from keras_explainable import filters
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.gradients import signed_gradients
from keras_explainable.methods.gradient.reduction import channel_reducer
from keras_explainable.methods.meta.smooth import SHARED, smooth
from keras_explainable.models import View, on_view


@explainer(
    "gradient",
    "gradient",
    "n (forward + K backward)",
    "arXiv:1706.03825",
    postprocessing=filters.normalize,
    repeats=True,
    shares=SHARED,
)
def smoothgrad(
    view: View,
    *,
    repetitions: int = 25,
    noise: float = 0.15,
    noise_kind: str = "range",
    reduce: str | None = "mean",
    seed: int | None = None,
) -> tuple:
    """The absolute value of the gradient averaged over noisy copies of the image.

    maps = reduce over c of |1/n sum_i d score(x + sigma e_i) / dx|, e_i standard normal

    Signed gradients are averaged first. The scores are the mean of the copies' scores.

    Args:
        repetitions, noise, noise_kind, reduce, seed: see `ke.methods.gradient`.

    Reference: Smilkov et al., SmoothGrad, arXiv:1706.03825.
    """
    reduced = channel_reducer(reduce)
    smoothed = smooth(signed_gradients, repetitions, noise, noise_kind)
    scores, g = on_view(smoothed, view, seed=seed)
    return scores, reduced(g)


@explainer(
    "gradient",
    "gradient",
    "n (forward + K backward)",
    "arXiv:1810.03307",
    postprocessing=filters.normalize,
    repeats=True,
    shares=SHARED,
)
def vargrad(
    view: View,
    *,
    repetitions: int = 25,
    noise: float = 0.15,
    noise_kind: str = "range",
    reduce: str | None = "mean",
    seed: int | None = None,
) -> tuple:
    """The variance of the gradient over noisy copies of the image.

    maps = reduce over c of 1/n sum_i (g_i - mean g)^2, g_i = d score(x + sigma e_i) / dx, e_i standard normal

    The scores are the mean of the copies' scores.

    Args:
        repetitions, noise, noise_kind, reduce, seed: see `ke.methods.gradient`.

    Reference: Adebayo et al., Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values,
    arXiv:1810.03307.
    """
    reduced = channel_reducer(reduce)
    varied = smooth(signed_gradients, repetitions, noise, noise_kind, "variance")
    scores, spread = on_view(varied, view, seed=seed)
    return scores, reduced(spread)


@explainer(
    "gradient",
    "gradient",
    "n (forward + K backward)",
    "arXiv:1806.10758",
    postprocessing=filters.normalize,
    repeats=True,
    shares=SHARED,
)
def squaregrad(
    view: View,
    *,
    repetitions: int = 25,
    noise: float = 0.15,
    noise_kind: str = "range",
    reduce: str | None = "mean",
    seed: int | None = None,
) -> tuple:
    """The mean of the squared gradient over noisy copies of the image.

    maps = reduce over c of 1/n sum_i (d score(x + sigma e_i) / dx)^2, e_i standard normal

    The scores are the mean of the copies' scores.

    Args:
        repetitions, noise, noise_kind, reduce, seed: see `ke.methods.gradient`.

    Reference: Hooker et al., A Benchmark for Interpretability Methods in Deep Neural Networks, arXiv:1806.10758.
    """
    reduced = channel_reducer(reduce)
    squared = smooth(signed_gradients, repetitions, noise, noise_kind, "square")
    scores, squares = on_view(squared, view, seed=seed)
    return scores, reduced(squares)
