"""Full gradients, averaged over noisy copies of the images."""

from typing import Any

from keras import ops

from keras_explainable import backend, filters
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.fullgrad.full_gradients import (
    biases_at,
    psi_sum,
    shown_biases,
    spatially_biased,
    sum_at_image_size,
)
from keras_explainable.methods.meta.smooth import SHARED, smooth
from keras_explainable.models import INPUT, View, on_view, opens_view


@opens_view
def _gradients(view: View) -> tuple:
    """Scores (B, K), input x gradient (B, K, *S, C), and the gradient (B, K, *S', C') at each bias."""
    points = [INPUT, *spatially_biased(view)]
    scores, _, terms = view.jacobian(points, lambda point, g: g * view.x if point == INPUT else g, keep=False)
    return scores, *(terms[point] for point in points)


def _psi(term: Any, bias: Any = 1.0) -> Any:
    """psi (B, K, *S) of a gradient (B, K, *S, C) times a bias, for each image and unit separately."""
    batch, units, *rest = ops.shape(term)
    found = backend.by_image(lambda part: psi_sum(part * bias), ops.reshape(term, (batch * units, *rest)))
    return ops.reshape(found, (batch, units, *rest[:-1]))


@explainer(
    "full gradient",
    "gradient, biases",
    "n (forward + K backward)",
    "arXiv:1905.00780",
    postprocessing=filters.normalize,
    repeats=True,
    shares=SHARED,
    about=shown_biases,
)
def smooth_full_gradients(
    view: View,
    *,
    repetitions: int = 25,
    noise: float = 0.15,
    noise_kind: str = "range",
    seed: int | None = None,
) -> tuple:
    """Full gradients of the contributions averaged over noisy copies of the image.

    maps = sum_c psi(mean_i x_i dscore/dx_i) + sum over layers of resize(sum_c psi(mean_i b dscore/db)),
    x_i = x + sigma e_i, e_i standard normal, psi as in `full_gradients`

    Signed contributions are averaged before psi takes absolute values. The scores are the mean of the copies' scores.
    Memory holds the gradient at every bias for each unit, and does not grow with n. If the noise is too large for the
    model, only the borders of the image remain in the mean: use less noise.

    Args:
        repetitions, noise, noise_kind, seed: see `ke.methods.gradient`.

    Reference: Srinivas & Fleuret, arXiv:1905.00780, and the authors' implementation, which sums the channels of the
    input first and takes one min and max for the whole batch.
    """
    mean = smooth(_gradients, repetitions, noise, noise_kind)
    scores, first, *terms = on_view(mean, view, seed=seed)
    biases = biases_at(view, spatially_biased(view)).values()
    return scores, sum_at_image_size(view, _psi(first), map(_psi, terms, biases))
