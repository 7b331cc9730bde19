"""Methods made of methods: each takes a method and returns one, so that they nest."""

import functools
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, filters, models, registry
from keras_explainable.errors import ExplainError, InputError
from keras_explainable.methods.baselines import behind_inputs
from keras_explainable.methods.loops import (
    means,
    moments,
    quadrature_of,
    scores_of,
    total_of,
)
from keras_explainable.methods.noise import check_noise, noisy
from keras_explainable.numerics.resize import resize
from keras_explainable.registry import Method
from keras_explainable.runtime.compile_cache import frozen, repeated, repeats

LARGEST = 2**31  # factor of a size: none of more bits is one in pixels


def _float(inputs: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(inputs), "float32")


def _as_seeded(method: Callable, params: dict, seed: int | None) -> dict:
    """A method's parameters, and the seed where it takes one."""
    return {**params, "seed": seed} if registry.takes(method, "seed") else params


def _flat(method: Callable, maps: Any, rank: int) -> Any:
    """Maps (B, *S', K) of images of this rank, to be resized; others are refused."""
    if len(maps.shape) != rank:
        raise InputError(
            f"{registry.named(method)} gave maps of shape {tuple(maps.shape)}, and (batch, *space, units) was "
            "expected: leave out reduce=None, with which maps have channels as well."
        )
    return maps


def smooth(
    method: Method, repetitions: int = 20, noise: float = 0.1, noise_kind: str = "absolute", aggregate: str = "mean"
) -> Callable:
    """The mean of a method's scores and maps over noisy copies of the images, or how much the maps vary.

    maps = 1/n sum_i method(x + sigma e_i), e_i standard normal. Each image of a batch sees the same draws e_i, so that
    its map depends on the seed alone and not on its neighbours. The explained units are the same in every draw.

    Args:
        method: any explaining method, compiled or not, or its name.
        repetitions: n. Time grows with it, memory does not.
        noise: sigma, in the images' own units, or with noise_kind="range" as a fraction of each image's max - min.
        aggregate: of the maps, the "mean", the "variance" (with 1/n) or the mean "square"; of the scores the mean.

    Returns:
        A method with one parameter more: `seed`, which the method itself gets as well where it takes one.

    Reference: Smilkov et al., SmoothGrad, arXiv:1706.03825.
    """
    check_noise(repetitions, noise_kind, aggregate, noise)
    return _smooth(registry.method_of(method), int(repetitions), float(noise), noise_kind, aggregate)


@functools.lru_cache(maxsize=256)  # the same arguments give the same function, which is compiled only once
def _smooth(method: Callable, repetitions: int, noise: float, noise_kind: str, aggregate: str) -> Callable:
    @repeats
    @registry.with_parameters_of(method)
    def smoothed(model: Any, inputs: Any, indices: Any = None, seed: int | None = None, **params: Any) -> tuple:
        own = _as_seeded(method, params, seed)

        def draw(subject, x, units, step):
            copies = noisy(x, noise, noise_kind, seed, step, models.taps(subject).channels_first)
            scores, *maps = method(subject, copies, units, **own)
            return (scores, *map(ops.square, maps)) if aggregate == "square" else (scores, *maps)

        x = _float(inputs)
        units = models.units(model, x, indices, params.get("score"))
        key = frozen(["smooth", method, noise, noise_kind, aggregate == "square", seed, params])
        run = functools.partial(repeated(draw, key, model, method, x), x, units)
        return (moments if aggregate == "variance" else means)(run, repetitions, x)

    smoothed.__name__ = f"{registry.named(method)}_smooth"
    return smoothed


def tta(method: Method, scales: Sequence[float] = (0.5, 1.5, 2.0), hflip: bool = True) -> Callable:
    """The mean of a method's scores and maps over the images at several sizes, each as it is and mirrored.

    maps = mean over passes of undo(method(do(x))): one pass at the images' own size and one for each scale, twice as
    many with `hflip`; the maps are mirrored back and resized to the images, then averaged over all passes.

    Args:
        method: any explaining method, compiled or not, or its name.
        scales: factors of the images' size, above 0. The model must accept such sizes.
        hflip: whether each pass is repeated on mirrored images.
    """
    if np.ndim(scales) != 1 or not all(isinstance(s, numbers.Real) and 0 < s < LARGEST for s in scales):
        raise InputError(f"scales={scales!r}: factors of the images' size, each above 0, were expected: (0.5, 1.5).")
    return _tta(registry.method_of(method), tuple(map(float, scales)), bool(hflip))


@functools.lru_cache(maxsize=256)
def _tta(method: Callable, scales: tuple[float, ...], hflip: bool) -> Callable:
    passes = [(scale, flip) for scale in (None, *scales) for flip in ((False, True) if hflip else (False,))]

    @repeats
    @registry.with_parameters_of(method)
    def augmented(model: Any, inputs: Any, indices: Any = None, **params: Any) -> tuple:
        x = _float(inputs)
        units = models.units(model, x, indices, params.get("score"))
        view = models.view(model, x)
        start = 2 if view.taps.channels_first else 1
        if scales and view.taps.inputs.front is not None and view.taps.inputs.front.windows:
            raise InputError("This model crops or pads its images, of each size otherwise: use tta(scales=(), ...).")
        if params.get("layer") is None and registry.takes(method, "layer"):
            params["layer"] = view.signal()  # one signal for all sizes

        def once(subject, x, units, scale, flip):
            size = tuple(ops.shape(x)[start : start + len(x.shape) - 2])
            seen = ops.flip(x, axis=-1 if start == 2 else -2) if flip else x
            if scale is not None:
                seen = resize(seen, [_scaled(s, scale) for s in size], axis=start)
                _check_taken(subject, seen, scale)
            scores, maps = method(subject, seen, units, **params)
            places = models.windows(subject, x, params) if registry.of_layer(method) else None
            maps = models.resized(subject, x, _flat(method, maps, len(x.shape)), windows=places)
            return scores, ops.flip(maps, axis=-2) if flip else maps

        scores, maps = 0.0, 0.0
        for scale, flip in passes:
            key = frozen(["tta", method, scale, flip, params])
            run = repeated(functools.partial(once, scale=scale, flip=flip), key, model, method, x)
            new_scores, new_maps = run(x, units)
            scores, maps = scores + new_scores, maps + new_maps
        return scores / len(passes), maps / len(passes)

    augmented.__name__ = f"{registry.named(method)}_tta"
    augmented.at_images = True  # type: ignore[attr-defined]
    return augmented


def integrate(
    method: Method, repetitions: int = 50, quadrature: str = "gauss_legendre", baseline: Any = 0.0
) -> Callable:
    """The mean of a method's maps over the straight path from a baseline to the image.

    maps = integral from 0 to 1 of method(x0 + t (x - x0)) dt, and the scores of the images as they are.

    Args:
        method: any explaining method, compiled or not, or its name.
        repetitions: points on the path. Time grows with them, memory does not.
        quadrature: "gauss_legendre", whose error falls quickly where the maps change smoothly, or "midpoint".
        baseline: a number, a colour (C,), images, or "mean" for each image's own mean colour.
    """
    method, rows = registry.method_of(method), quadrature_of(quadrature, repetitions)

    @repeats
    @registry.with_parameters_of(method)
    def integrated(model: Any, inputs: Any, indices: Any = None, **params: Any) -> tuple:
        score = params.get("score")
        view = models.view(model, inputs)
        x, behind = view.inputs, behind_inputs(view, baseline)
        units = models.units(model, inputs, indices, score)

        def at(subject, x, behind, units, t, weight):
            return (weight * method(subject, behind + t * (x - behind), units, **params)[1],)

        key = frozen(["integrate", method, params])
        run = functools.partial(repeated(at, key, model, method, x), x, behind, units)
        (maps,) = total_of(run, rows, x)
        return scores_of(model, x, units, score), maps

    integrated.given = {"baseline": baseline}  # type: ignore[attr-defined]
    integrated.__name__ = f"{registry.named(method)}_integrated"
    return integrated


def ensemble(methods: Sequence[Method], weights: Sequence[float] | None = None) -> Callable:
    """The mean of several methods' maps, each brought to the images' size and to values from 0 to 1.

    maps = sum_i w_i normalize(resize(postprocessing_i(maps_i))) / sum_i w_i

    Args:
        methods: explaining methods or their names. Those that are registered get their customary postprocessing.
        weights: w, one for each method; by default all count the same.
    """
    functions = registry.methods_of(methods)
    shares = [1.0] * len(functions) if weights is None else list(weights)
    known = all(isinstance(w, numbers.Real) and 0 <= w < LARGEST for w in shares)
    if not functions or len(shares) != len(functions) or not known or not sum(shares):
        raise InputError(f"{len(functions)} methods and weights={weights} came: give one positive weight for each.")
    customary = {record.function: record.postprocessing for record in registry.METHODS.values()}

    @repeats
    @registry.with_parameters_of(*functions)
    def combined(model: Any, inputs: Any, indices: Any = None, seed: int | None = None, **params: Any) -> tuple:
        view = models.view(model, inputs)
        x, size = view.inputs, view.size
        units = models.units(model, inputs, indices, params.get("score"))
        axis, total, scores = tuple(range(1, 1 + len(size))), 0.0, None
        for method, share in zip(functions, shares, strict=True):
            own = _as_seeded(method, params, seed)

            def run(subject, x, units, method=method, own=own):
                return method(subject, x, units, **own)

            found, maps = repeated(run, frozen(["ensemble", method, own]), model, method, x)(x, units)
            maps = _flat(method, maps, len(x.shape))
            maps = (customary.get(method) or (lambda m, axis: m))(maps, axis=axis)
            places = models.windows(model, x, params) if registry.of_layer(method) else None
            maps = models.resized(model, x, maps, windows=places)
            scores = found if scores is None else scores
            total = total + share / sum(shares) * filters.normalize(maps, axis)
        return scores, total

    combined.__name__ = "_".join(map(registry.named, functions)) + "_ensemble"
    combined.at_images = True  # type: ignore[attr-defined]
    return combined


@dataclass(frozen=True)
class Contrast:
    """Scores of units, each less the mean of the others; equal for equal others, so that compiled programs are kept."""

    others: tuple[int, ...] | None
    before_activation = linear = True

    def __call__(self, outputs: Any) -> Any:
        values = ops.cast(outputs, "float32")
        number = values.shape[-1]
        if number < 2:
            raise InputError(f"The model has {number} unit, so there is no other to compare with.")
        models.check_units(np.asarray(self.others or (0,)), number)
        chosen = np.isin(np.arange(number), self.others or np.arange(number))[:, None] & ~np.eye(number, dtype=bool)
        share = chosen / np.maximum(chosen.sum(axis=0), 1)  # (of others, of units)
        return values - values @ ops.convert_to_tensor(share.astype("float32"))


def contrast(method: Method, other_units: int | Sequence[int] | None = None) -> Callable:
    """Why a unit and not others: a method's maps of how far a unit's score is above the mean of other units'.

    score[b, k] = f[b, k] - mean over j in other_units, j not k, of f[b, j]

    Args:
        method: an explaining method that takes `score`, or its name.
        other_units: their numbers; None for all others.

    Returns:
        A method with the parameters of this one, but `score`. The only one of `other_units` has no other: to ask for
        it is an `InputError` where units are known beforehand, and elsewhere its score is f[b, k].
    """
    known = registry.parameters(method := registry.method_of(method))
    if known is not None and "score" not in known:
        raise InputError(f"{registry.named(method)} takes no score=, so it cannot explain a difference of scores.")
    if other_units is not None:
        models.check_units(np.asarray(other_units), None)
    others = None if other_units is None else tuple(int(k) for k in np.atleast_1d(other_units))

    @registry.with_parameters_of(method, but=["score"])
    def contrasted(model: Any, inputs: Any, indices: Any = None, **params: Any) -> tuple:
        if indices is not None:
            models.units(model, inputs, indices)  # refuses units that the model does not have
            _check_others(others, indices)
        return method(model, inputs, indices, **{**params, "score": Contrast(others)})

    contrasted.repeats = getattr(method, "repeats", False)
    contrasted.__name__ = f"{registry.named(method)}_contrast"
    return contrasted


def _check_others(others: tuple[int, ...] | None, indices: Any) -> None:
    """Refuse a unit that is to be compared with itself alone, where the units are known."""
    if others and len(set(others)) == 1 and not backend.is_traced(indices) and others[0] in backend.to_host(indices):
        raise InputError(f"Unit {others[0]} was asked for, and other_units={others[0]} has no other to compare with.")


def _check_taken(model: Any, images: Any, scale: float) -> None:
    """Refuse a scale that makes images of a size which the model does not take."""
    if models.taps(model).black_box:
        return
    try:
        models.view(model, images)
    except ExplainError:
        raise
    except Exception as error:
        raise InputError(
            f"scales={scale:g} makes images of shape {tuple(images.shape)}, and the model cannot run on them: give "
            f"other scales, or scales=() for none. It said: {error}"
        ) from error


def _scaled(size: Any, scale: float) -> Any:
    if not isinstance(size, int):
        return ops.cast(ops.cast(size, "float32") * scale, "int32")
    if size * scale < 1:
        raise InputError(f"scales={scale} leaves no pixel of {size}.")
    return int(size * scale)
