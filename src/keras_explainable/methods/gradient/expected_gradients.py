"""Expected gradients: integrated gradients from many baselines."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters
from keras_explainable.masking.baselines import references
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.gradients import signed_gradients
from keras_explainable.methods.gradient.reduction import part_reducer
from keras_explainable.methods.noise import check_noise, noisy
from keras_explainable.models import View, on_view
from keras_explainable.numerics import random
from keras_explainable.runtime.compile_cache import Program, repeated
from keras_explainable.runtime.repetition import scores_of, total_of
from keras_explainable.runtime.validation import seed_of


@dataclass(frozen=True)
class Draw(Program):
    """The gradient (B, K, *S, C) between a baseline and the image, or a noisy copy, times the difference."""

    noise: float = 0.0
    noise_kind: str = "range"
    seed: int = 0

    def __call__(self, view: View, starts: Any, t: Any, which: Any, step: Any) -> tuple:
        first, start = view.adapter.channels_first, ops.take(starts, which, axis=0)[None]
        seen = noisy(view.inputs, self.noise, self.noise_kind, self.seed, step, first) if self.noise else view.inputs
        _, g = on_view(signed_gradients, view.of(start + t * (seen - start), view.indices))
        way = ops.moveaxis(seen - start, 1, -1) if first else seen - start
        return (way[:, None] * g,)


@explainer(
    "gradient",
    "gradient",
    "1 forward + n (forward + K backward)",
    "arXiv:1906.10670",
    postprocessing=filters.absolute_normalize,
    repeats=True,
)
def expected_gradients(
    view: View,
    *,
    repetitions: int = 100,
    baselines: Any = 0.0,
    noise: float = 0.0,
    noise_kind: str = "range",
    reduce: str | None = "sum",
    seed: int | None = None,
) -> tuple:
    """Integrated gradients, averaged over many reference images as baselines.

    maps = 1/n sum_i sum over c of (x - r_i) d score(r_i + t_i (x - r_i)) / dx

    r_i is a random reference and t_i is in (0, 1): uniform in the i-th of n equal parts, which has the same expectation
    as independent t_i and less variance. All images of a batch use the same draws.

    Args:
        repetitions, reduce, seed: see `ke.methods.gradient`.
        baselines: reference images (R, *S, C), preferably many training images; or a number or a colour. The default, 0
            in the range of the images, gives integrated gradients at random points.
        noise, noise_kind: noise added to x in each draw, see `ke.methods.gradient`.

    Reference: Erion et al., Improving performance of deep learning models with axiomatic attribution priors and
    expected gradients, arXiv:1906.10670.
    """
    check_noise(repetitions, noise_kind, noise=noise)
    seed, reduced = seed_of(seed), part_reducer(reduce)
    starts = references(view, baselines)
    step = Draw(noise, noise_kind, seed) if noise else Draw()
    t, which = draws(repetitions, int(starts.shape[0]), seed)
    run = functools.partial(repeated(step, view), starts)
    (total,) = total_of(run, [t, which, np.arange(repetitions, dtype="int32")], view.inputs)
    return scores_of(view), reduced(total / repetitions)


def draws(number: int, references: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on the paths, one in each of `number` equal parts of (0, 1), and the number of each path's reference."""
    t = (np.arange(number) + random.on_host((number,), seed, 0, 2)) / number
    return t.astype("float32"), (random.on_host((number,), seed, 0, 3) * references).astype("int32")


@explainer(
    "gradient",
    "gradient",
    "1 forward + n (forward + K backward)",
    "arXiv:1705.07874",
    postprocessing=filters.absolute_normalize,
    repeats=True,
)
def gradient_shap(
    view: View,
    *,
    repetitions: int = 100,
    baselines: Any = 0.0,
    noise: float = 0.1,
    noise_kind: str = "range",
    reduce: str | None = "sum",
    seed: int | None = None,
) -> tuple:
    """Shapley values of the pixels, by gradients between reference images and noisy copies of the image.

    maps = those of `expected_gradients` with x + sigma e_i in place of x in draw i, e_i standard normal

    Args:
        repetitions, baselines, noise, noise_kind, reduce, seed: see `expected_gradients`.

    Reference: Lundberg & Lee, A Unified Approach to Interpreting Model Predictions, arXiv:1705.07874 (the estimate is
    the GradientExplainer of its authors' library).
    """
    params = {"repetitions": repetitions, "baselines": baselines, "noise": noise, "noise_kind": noise_kind}
    return on_view(expected_gradients, view, **params, reduce=reduce, seed=seed)
