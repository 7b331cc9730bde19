"""Expected gradients: integrated gradients from many baselines."""

import functools
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters, models
from keras_explainable.methods.baselines import references
from keras_explainable.methods.gradient.gradients import gradients
from keras_explainable.methods.gradient.reduction import part_reducer
from keras_explainable.methods.noise import check_noise, noisy
from keras_explainable.methods.repetition import scores_of, total_of
from keras_explainable.methods.validation import seed_of
from keras_explainable.numerics import random
from keras_explainable.registry import explainer
from keras_explainable.runtime.compile_cache import frozen, repeated, repeats


@repeats
@explainer(
    "gradient",
    "gradient",
    "1 forward + n (forward + K backward)",
    "arXiv:1906.10670",
    postprocessing=filters.absolute_normalize,
)
def expected_gradients(
    model: Any,
    inputs: Any,
    indices: Any = None,
    score: Any = None,
    *,
    repetitions: int = 100,
    baselines: Any = 0.0,
    noise: float = 0.0,
    noise_kind: str = "range",
    reduce: str | None = "sum",
    seed: int | None = None,
) -> tuple:
    """What each pixel adds to the score, compared with many reference images: integrated gradients from all of them.

    maps = 1/n sum_i sum over c of (x - r_i) d score(r_i + t_i (x - r_i)) / dx, r_i a random reference, t_i in (0, 1)

    t_i is uniform in the i-th of n equal parts of (0, 1), which estimates the same as, and with less variance than,
    independent t_i. Each image of a batch sees the same draws.

    Args:
        repetitions, reduce: see `ke.methods.path`.
        baselines: images (R, *S, C) of the data that the model knows, as many as there are; a number or a colour. 0 in
            the model's range unless given, and then these are integrated gradients at random places.
        noise, noise_kind: of normal noise that is added to x in each draw, see `meta.smooth`.

    Reference: Erion et al., Improving performance of deep learning models with axiomatic attribution priors and
    expected gradients, arXiv:1906.10670.
    """
    check_noise(repetitions, noise_kind, noise=noise)
    seed, reduced = seed_of(seed), part_reducer(reduce)
    view = models.view(model, inputs)
    x, behind, first = view.inputs, references(view, baselines), view.adapter.channels_first
    units = models.units(model, inputs, indices, score)

    def draw(subject, x, behind, units, t, which, step):
        origin = ops.take(behind, which, axis=0)[None]
        seen = noisy(x, noise, noise_kind, seed, step, first) if noise else x
        _, g = gradients(subject, origin + t * (seen - origin), units, score, reduce=None)
        way = ops.moveaxis(seen - origin, 1, -1) if first else seen - origin
        return (way[:, None] * g,)

    key = frozen(["expected", score, bool(noise) and (noise, noise_kind, seed)])
    run = functools.partial(repeated(draw, key, model, gradients, x), x, behind, units)
    t, which = draws(repetitions, int(behind.shape[0]), seed)
    (total,) = total_of(run, [t, which, np.arange(repetitions, dtype="int32")], x)
    return scores_of(model, x, units, score), reduced(total / repetitions)


def draws(number: int, references: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places on the paths, one in each of `number` equal parts of (0, 1), and which reference each path begins at."""
    t = (np.arange(number) + random.on_host((number,), seed, 0, 2)) / number
    return t.astype("float32"), (random.on_host((number,), seed, 0, 3) * references).astype("int32")


@repeats
@explainer(
    "gradient",
    "gradient",
    "1 forward + n (forward + K backward)",
    "arXiv:1705.07874",
    postprocessing=filters.absolute_normalize,
)
def gradient_shap(
    model: Any,
    inputs: Any,
    indices: Any = None,
    score: Any = None,
    *,
    repetitions: int = 100,
    baselines: Any = 0.0,
    noise: float = 0.1,
    noise_kind: str = "range",
    reduce: str | None = "sum",
    seed: int | None = None,
) -> tuple:
    """Shapley values of the pixels, estimated by gradients between reference images and noisy copies of the image.

    maps as of `expected_gradients`, each draw with x + sigma e_i in the place of x.

    Args:
        repetitions, baselines, noise, noise_kind, reduce: see `expected_gradients`.

    Reference: Lundberg & Lee, A Unified Approach to Interpreting Model Predictions, arXiv:1705.07874 (the estimate is
    the GradientExplainer of its authors' library).
    """
    params = {"repetitions": repetitions, "baselines": baselines, "noise": noise, "noise_kind": noise_kind}
    return expected_gradients(model, inputs, indices, score, **params, reduce=reduce, seed=seed)
