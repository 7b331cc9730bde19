"""Methods made of methods: each takes a method and returns one, so that they nest."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_explainable import backend, filters, models, random
from keras_explainable.compiling import frozen, repeated, repeats
from keras_explainable.errors import InputError
from keras_explainable.methods.gradient import channel_reducer, gradients
from keras_explainable.registry import explainer
from keras_explainable.resize import resize

NOISE_KINDS = ("absolute", "range")
signed_gradients = functools.partial(gradients, reduce=None)


def _float(inputs: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(inputs), "float32")


def _named(method: Callable) -> str:
    method = getattr(method, "func", method)  # of a partial function
    return str(getattr(method, "__name__", type(method).__name__))


@functools.lru_cache(maxsize=256)  # the same arguments give the same function, which is compiled only once
def smooth(method: Callable, repetitions: int = 20, noise: float = 0.1, noise_kind: str = "absolute") -> Callable:
    """The mean of a method's scores and maps over noisy copies of the images.

    maps = 1/n sum_i method(x + sigma e_i), e_i standard normal. Each image of a batch sees the same draws e_i, so that
    its map depends on the seed alone and not on its neighbours. The explained units are the same in every draw.

    Args:
        method: any explaining method, compiled or not.
        repetitions: n. Time grows with it, memory does not.
        noise: sigma in the images' own units, or with noise_kind="range" as a fraction of each image's max - min.

    Returns:
        A method with one parameter more: `seed`.

    Reference: Smilkov et al., SmoothGrad, arXiv:1706.03825.
    """
    if repetitions < 1:
        raise InputError(f"repetitions={repetitions}: at least one is needed.")
    if noise_kind not in NOISE_KINDS:
        raise InputError(f"noise_kind={noise_kind!r}: use one of {', '.join(map(repr, NOISE_KINDS))}.")

    @repeats
    def smoothed(model: Any, inputs: Any, indices: Any = None, seed: int | None = None, **params: Any) -> tuple:
        def draw(subject, x, units, step):
            sigma: Any = noise
            if noise_kind == "range":
                axes = tuple(range(1, len(x.shape)))
                sigma = noise * (ops.max(x, axis=axes, keepdims=True) - ops.min(x, axis=axes, keepdims=True))
            e = random.normal((1, *ops.shape(x)[1:]), seed or 0, step)
            return tuple(method(subject, x + sigma * e, units, **params))

        x = _float(inputs)
        units = models.units(model, x, indices, params.get("score"))
        run = repeated(draw, frozen(["smooth", method, noise, noise_kind, seed, params]), model, method, x)
        return tuple(total / repetitions for total in _sum(run, x, units, repetitions))

    smoothed.__name__ = f"{_named(method)}_smooth"
    return smoothed


def tta(method: Callable, scales: Sequence[float] = (0.5, 1.5, 2.0), hflip: bool = True) -> Callable:
    """The mean of a method's scores and maps over the images at several sizes, each as it is and mirrored.

    maps = mean over passes of undo(method(do(x))): one pass at the images' own size and one for each scale, twice as
    many with `hflip`; the maps are mirrored back and resized to the images, then averaged over all passes.

    Args:
        method: any explaining method, compiled or not.
        scales: factors of the images' size. The model must accept such sizes.
        hflip: whether each pass is repeated on mirrored images.
    """
    return _tta(method, tuple(float(s) for s in scales), bool(hflip))


@functools.lru_cache(maxsize=256)
def _tta(method: Callable, scales: tuple[float, ...], hflip: bool) -> Callable:
    passes = [(scale, flip) for scale in (None, *scales) for flip in ((False, True) if hflip else (False,))]

    @repeats
    def augmented(model: Any, inputs: Any, indices: Any = None, **params: Any) -> tuple:
        x = _float(inputs)
        units = models.units(model, x, indices, params.get("score"))
        view = models.view(model, x)
        start = 2 if view.taps.channels_first else 1
        if params.get("layer") is None and "layer" in inspect.signature(method).parameters:
            params["layer"] = view.signal()  # one signal for all sizes

        def once(subject, x, units, scale, flip):
            size = tuple(ops.shape(x)[start : start + len(x.shape) - 2])
            seen = ops.flip(x, axis=-1 if start == 2 else -2) if flip else x
            if scale is not None:
                seen = resize(seen, [_scaled(s, scale) for s in size], axis=start)
            scores, maps = method(subject, seen, units, **params)
            maps = resize(maps, size)
            return scores, ops.flip(maps, axis=-2) if flip else maps

        scores, maps = 0.0, 0.0
        for scale, flip in passes:
            key = frozen(["tta", method, scale, flip, params])
            run = repeated(functools.partial(once, scale=scale, flip=flip), key, model, method, x)
            new_scores, new_maps = run(x, units)
            scores, maps = scores + new_scores, maps + new_maps
        return scores / len(passes), maps / len(passes)

    augmented.__name__ = f"{_named(method)}_tta"
    return augmented


def _sum(run: Callable, x: Any, units: Any, repetitions: int) -> tuple:
    """The sum of `run(x, units, step)` over the steps: in a loop of the program it is part of, or of the host."""

    def add(step, sums):
        return tuple(total + new for total, new in zip(sums, run(x, units, step), strict=True))

    if backend.is_traced(x):
        return ops.fori_loop(1, repetitions, add, run(x, units, 0))
    sums = run(x, units, ops.convert_to_tensor(0, "int32"))
    for step in range(1, repetitions):
        sums = add(ops.convert_to_tensor(step, "int32"), sums)
    return sums


def _scaled(size: Any, scale: float) -> Any:
    return int(size * scale) if isinstance(size, int) else ops.cast(ops.cast(size, "float32") * scale, "int32")


@repeats
@explainer("gradient", "gradient", "n (forward + K backward)", "arXiv:1706.03825", postprocessing=filters.normalize)
def smoothgrad(
    model: Any,
    inputs: Any,
    indices: Any = None,
    score: Any = None,
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
        repetitions, noise, noise_kind: see `meta.smooth`; reduce: see `gradients`.

    Reference: Smilkov et al., SmoothGrad, arXiv:1706.03825.
    """
    reduced = channel_reducer(reduce)
    smoothed = smooth(signed_gradients, repetitions, noise, noise_kind)
    scores, g = smoothed(model, inputs, indices, seed, score=score)
    return scores, reduced(g)
