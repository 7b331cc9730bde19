"""Class activation maps from gradients of many noisy copies of an image."""

import functools
from typing import Any

from keras import ops

from keras_explainable import filters, models
from keras_explainable.methods.cams.weighting import weighted
from keras_explainable.methods.noise import check_noise, noisy
from keras_explainable.methods.repetition import means
from keras_explainable.numerics.arithmetic import quotient
from keras_explainable.registry import explainer
from keras_explainable.runtime.compile_cache import frozen, repeated, repeats


@repeats
@explainer(
    "cam", "hidden signal, gradient", "(1 + n) forward", "arXiv:1908.01224", postprocessing=filters.positive_normalize
)
def smooth_gradcampp(
    model: Any,
    inputs: Any,
    indices: Any = None,
    layer: Any = None,
    score: Any = None,
    *,
    repetitions: int = 25,
    noise: float = 0.15,
    noise_kind: str = "range",
    seed: int | None = None,
) -> tuple:
    """Grad-CAM++ with derivatives that are averaged over noisy copies of the image.

    maps = sum_c w_c A_c, w_c = sum_s alpha relu(D1), alpha = D2 / (2 D2 + D3 sum_s A), 0 where that is undefined,
    Dp = mean over draws of g(x + sigma e)^p, A the signal of the image as it is.

    Args:
        repetitions, noise, noise_kind: see `meta.smooth`.

    Reference: Omeiza et al., Smooth Grad-CAM++, arXiv:1908.01224.
    """
    check_noise(repetitions, noise_kind, noise=noise)
    view = models.view(model, inputs, indices, score)
    layer = view.signal() if layer is None else layer
    x, units = view.inputs, models.units(model, inputs, indices, score)
    first = view.adapter.channels_first  # and not the view, which would keep the model alive: `draw` is kept, compiled

    def plain(subject, x, units):
        seen = models.view(subject, x, units, score)
        point = seen.signal(layer)
        scores, values = seen.evaluate([point])
        return scores, values[point]

    def draw(subject, x, units, step):
        copies = noisy(x, noise, noise_kind, seed, step, first)
        seen = models.view(subject, copies, units, score)
        point = seen.signal(layer)
        g = seen.jacobian([point], keep=False)[2][point]
        return g, g**2, g**3

    key = frozen(["smooth_gradcampp", layer, score, noise, noise_kind, seed])
    scores, a = repeated(plain, (key, "plain"), model, plain, x)(x, units)
    run = functools.partial(repeated(draw, key, model, draw, x), x, units)
    mean, second, third = means(run, repetitions, x)
    total = ops.sum(a, axis=tuple(range(1, 1 + view.rank)), keepdims=True)[:, None]
    alpha = quotient(second, 2 * second + total * third)
    return scores, weighted(a, ops.sum(alpha * ops.relu(mean), axis=view.space))
