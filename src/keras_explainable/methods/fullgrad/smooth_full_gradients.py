"""Full gradients, averaged over noisy copies of the images as SmoothGrad averages gradients."""

from typing import Any

from keras import ops

from keras_explainable import backend, filters
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.fullgrad.full_gradients import biases_at, laid_over, psi_sum, spatially_biased, told
from keras_explainable.methods.meta.smooth import smooth
from keras_explainable.models import INPUT, View, on_view, opens_view
from keras_explainable.runtime.compile_cache import repeats


@opens_view
def _gradients(view: View) -> tuple:
    """Scores (B, K), what the input contributes, (B, K, *S, C), and the gradient at each bias, (B, K, *S', C')."""
    points = [INPUT, *spatially_biased(view)]
    scores, _, terms = view.jacobian(points, lambda point, g: g * view.x if point == INPUT else g, keep=False)
    return scores, *(terms[point] for point in points)


def _psi(term: Any, bias: Any = 1.0) -> Any:
    """psi of a gradient (B, K, *S, C) times a bias, of each image and unit by itself: (B, K, *S)."""
    batch, units, *rest = ops.shape(term)
    found = backend.by_image(lambda part: psi_sum(part * bias), ops.reshape(term, (batch * units, *rest)))
    return ops.reshape(found, (batch, units, *rest[:-1]))


@repeats
@explainer(
    "full gradient",
    "gradient, biases",
    "n (forward + K backward)",
    "arXiv:1905.00780",
    postprocessing=filters.normalize,
)
def smooth_full_gradients(
    view: View,
    *,
    repetitions: int = 25,
    noise: float = 0.15,
    noise_kind: str = "range",
    seed: int | None = None,
) -> tuple:
    """Full gradients of what the input and every bias contribute on average over noisy copies of the image.

    maps = sum_c psi(mean_i x_i dscore/dx_i) + sum over layers of resize(sum_c psi(mean_i b dscore/db)), x_i = x + sigma
    e_i, psi as in `full_gradients`: signed contributions are averaged, then made absolute. They are all kept, so memory
    is that of every layer's output for each unit, whatever n is.

    Args:
        repetitions, noise, noise_kind: see `meta.smooth`; scores are the copies' mean. Where they do not withstand the
            noise, what is left of the mean is at the borders of the image: take less of it.

    Reference: Srinivas & Fleuret, arXiv:1905.00780, and the authors' implementation, which adds up the input's channels
    first and takes one range for the whole batch.
    """
    mean = smooth(_gradients, repetitions, noise, noise_kind)
    scores, first, *terms = on_view(mean, view, seed=seed)
    biases = biases_at(view, spatially_biased(view)).values()
    return scores, laid_over(view, _psi(first), map(_psi, terms, biases))


smooth_full_gradients.about = told  # type: ignore[attr-defined]
