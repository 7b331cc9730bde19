"""SmoothGrad, VarGrad and SquareGrad: gradients of noisy copies."""

from keras_explainable import filters
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.gradients import signed_gradients
from keras_explainable.methods.gradient.reduction import channel_reducer
from keras_explainable.methods.meta.smooth import smooth
from keras_explainable.models import View, on_view
from keras_explainable.runtime.compile_cache import repeats


@repeats
@explainer("gradient", "gradient", "n (forward + K backward)", "arXiv:1706.03825", postprocessing=filters.normalize)
def smoothgrad(
    view: View,
    *,
    repetitions: int = 25,
    noise: float = 0.15,
    noise_kind: str = "range",
    reduce: str | None = "mean",
    seed: int | None = None,
) -> tuple:
    """How strongly each pixel moves the score, on average over noisy copies of the image.

    maps = reduce over c of |1/n sum_i d score(x + sigma e_i) / dx|: signed gradients are averaged, then made absolute.

    Args:
        repetitions, noise, noise_kind: see `smooth`; scores are the copies' mean. reduce: see `gradients`.

    Reference: Smilkov et al., SmoothGrad, arXiv:1706.03825.
    """
    reduced = channel_reducer(reduce)
    smoothed = smooth(signed_gradients, repetitions, noise, noise_kind)
    scores, g = on_view(smoothed, view, seed=seed)
    return scores, reduced(g)


@repeats
@explainer("gradient", "gradient", "n (forward + K backward)", "arXiv:1810.03307", postprocessing=filters.normalize)
def vargrad(
    view: View,
    *,
    repetitions: int = 25,
    noise: float = 0.15,
    noise_kind: str = "range",
    reduce: str | None = "mean",
    seed: int | None = None,
) -> tuple:
    """Where the gradient of the score depends most on small changes of the image: its variance over noisy copies.

    maps = reduce over c of 1/n sum_i (g_i - mean g)^2, g_i = d score(x + sigma e_i) / dx

    Args:
        repetitions, noise, noise_kind: see `smooth`; scores are the copies' mean. reduce: see `gradients`.

    Reference: Adebayo et al., Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values,
    arXiv:1810.03307.
    """
    reduced = channel_reducer(reduce)
    varied = smooth(signed_gradients, repetitions, noise, noise_kind, "variance")
    scores, spread = on_view(varied, view, seed=seed)
    return scores, reduced(spread)


@repeats
@explainer("gradient", "gradient", "n (forward + K backward)", "arXiv:1806.10758", postprocessing=filters.normalize)
def squaregrad(
    view: View,
    *,
    repetitions: int = 25,
    noise: float = 0.15,
    noise_kind: str = "range",
    reduce: str | None = "mean",
    seed: int | None = None,
) -> tuple:
    """How strongly each pixel moves the score of noisy copies of the image: the mean of squared gradients.

    maps = reduce over c of 1/n sum_i (d score(x + sigma e_i) / dx)^2

    Args:
        repetitions, noise, noise_kind: see `smooth`; scores are the copies' mean. reduce: see `gradients`.

    Reference: Hooker et al., A Benchmark for Interpretability Methods in Deep Neural Networks, arXiv:1806.10758.
    """
    reduced = channel_reducer(reduce)
    squared = smooth(signed_gradients, repetitions, noise, noise_kind, "square")
    scores, squares = on_view(squared, view, seed=seed)
    return scores, reduced(squares)
