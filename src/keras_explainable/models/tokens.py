"""Signals of tokens (batch, tokens, channels), read as grids of image patches."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_explainable.errors import InputError, LayerError
from keras_explainable.models.spatial import of_images, spatial_calls, spatial_size
from keras_explainable.models.trace import Call, Point, Trace

PREFIXES = (1, 0, 2, 5)  # a class token; none; a distillation token as well; four registers as well


def are_tokens(call: Call, rank: int) -> bool:
    """Whether a signal is (batch, tokens, channels), for images with more than one spatial axis."""
    return rank > 1 and len(call.shape) == 3 and call.shape[0] == 1 and call.shape[1] > 1


def given(address: Any) -> tuple[Any, dict]:
    """Split a user's address of a layer into the address, and the `prefix` and `grid` in it."""
    if not isinstance(address, Mapping):
        return address, {}
    known = {key: address[key] for key in ("prefix", "grid") if key in address}
    return {key: value for key, value in address.items() if key not in known}, known


def grid(
    trace: Trace, image: tuple, count: int, prefix: int | None = None, sizes: Sequence[int] | None = None
) -> tuple[int, tuple[int, ...]]:
    """How many of `count` tokens come before those of the image, and the sizes of the grid of the others: those of a
    spatial signal of the model, or of the image in patches, or, in two dimensions, a square.

    Raises:
        LayerError: the tokens are none of these, or not what the user says.
    """
    if not (prefix is None or (isinstance(prefix, (int, np.integer)) and prefix >= 0)):
        raise InputError(f"prefix={prefix!r} came, and the number of tokens before those of the image was expected.")
    if sizes is not None:
        if not (isinstance(sizes, (tuple, list)) and sizes and all(isinstance(s, int) and s > 0 for s in sizes)):
            raise InputError(f"grid={sizes!r} came, and its sizes were expected, as in grid=(14, 14).")
        rest, words = count - math.prod(sizes), f"{math.prod(sizes)} ({' x '.join(map(str, sizes))})"
        if rest < 0 or prefix not in (None, rest):
            raise LayerError(
                f"{count} tokens came, which are not {words} after {prefix or 0} others: "
                "give prefix= and grid= that add up to them."
            )
        if prefix is None and rest not in PREFIXES:
            raise LayerError(f"{count} tokens came, {words} after {rest} others: give prefix={rest} if that is so.")
        return rest, tuple(sizes)
    prefixes = PREFIXES if prefix is None else (prefix,)
    for sizes_of in (functools.partial(_signal, trace), _patches, _square):
        for before in prefixes:
            found = sizes_of(image, count - before)
            if found:
                return before, found
    raise LayerError(
        f"{count} tokens do not form a grid of patches of an image of {' x '.join(map(str, image))} after "
        f"{' or '.join(map(str, sorted(prefixes)))} others: give prefix= (how many tokens come before those of the "
        "image) and grid= (rows, columns), for CAM methods in layer={'name': ..., 'prefix': ..., 'grid': ...}; or use "
        "a layer whose tokens are such a grid."
    )


def grids(trace: Trace, image: tuple, count: int) -> list[tuple[int, ...]]:
    """The grids that more than half of `count` tokens can be: of a spatial signal's size, or of the image in patches,
    or, in two dimensions, a square of all but a few of them."""
    sizes = [spatial_size(call.shape, call.channels_first) for call in spatial_calls(trace, len(image))]
    sizes += [tuple(s // p for s in image) for p in range(1, max(image)) if all(s % p == 0 for s in image)]
    if len(image) == 3:  # patches of one or several frames
        times = [t for t in range(1, image[0] + 1) if image[0] % t == 0]
        places = [p for p in range(1, max(image[1:])) if image[1] % p == image[2] % p == 0]
        sizes += [(image[0] // t, image[1] // p, image[2] // p) for p in places for t in times]
    sizes += filter(None, [_square(image, count - before) for before in PREFIXES])
    return [size for size in dict.fromkeys(sizes) if count / 2 < math.prod(size) <= count]


def _signal(trace: Trace, image: tuple, count: int) -> tuple[int, ...] | None:
    sizes = (spatial_size(call.shape, call.channels_first) for call in spatial_calls(trace, len(image)))
    return next((size for size in sizes if math.prod(size) == count), None)


def _patches(image: tuple, count: int) -> tuple[int, ...] | None:
    patches = (tuple(s // p for s in image) for p in range(1, max(image)) if all(s % p == 0 for s in image))
    return next((size for size in patches if math.prod(size) == count > 1), None)


def _square(image: tuple, count: int) -> tuple[int, ...] | None:
    side = math.isqrt(max(count, 0))
    return (side, side) if len(image) == 2 and side > 1 and side * side == count else None


def check_attentions(shapes: dict[Point, tuple]) -> None:
    """Raise if there are no probabilities, or they do not go from the same tokens to the same tokens in every layer."""
    if not shapes:
        raise LayerError(
            "No attention probabilities can be seen in this model: no MultiHeadAttention or Softmax of Keras, "
            "no MultiheadAttention, scaled_dot_product_attention or softmax of PyTorch, of (batch, heads, T, T). "
            "Use a method that needs none, such as `gradcam` or `integrated_gradients`."
        )
    first = next(iter(shapes.values()))[-1]
    for point, shape in shapes.items():
        if len(shape) != 4 or shape[0] != 1 or shape[-2:] != (first, first):
            raise LayerError(
                f"The {point} has probabilities of shape {shape} for one image, and (1, heads, {first}, {first}), "
                "attention among the same tokens in all layers, was expected: attention within windows, or between "
                "different or shrinking sets of tokens, cannot be followed. Use `gradcam` or `integrated_gradients`."
            )


def last_tokens(
    trace: Trace,
    rank: int,
    attended: Callable[[], dict],
    operations: Callable[[], Trace],
    leads: frozenset | None = None,
    common: Callable[[Call], bool] = lambda call: False,
) -> Call | None:
    """The call whose tokens suit class activation maps best, in a transformer or in a model that mixes tokens without
    attention; None if the model is neither.

    After the last attention, only a class token has a gradient. So the result is the last normalisation before it that
    lies on all paths to the scores (`common(call)`)."""
    calls = _token_calls(trace, rank, leads)
    if not calls:
        return None
    shapes = attended()
    if not shapes:
        return _last_mixed(trace, rank, calls, leads, common)
    windows = any(shape[0] > 1 for shape in shapes.values())  # attention within windows has other numbers of tokens
    counts = {shape[-1] for shape in shapes.values() if shape[0] == 1 and shape[-1] == shape[-2]}
    calls = [c for c in calls if windows or c.shape[1] in counts]
    if not calls or _spatial_follows(trace, rank, leads, counts, calls[-1]):
        return None
    if windows:  # there is no class token
        return _normalised(calls, common)
    return _normalised(_before_attention(trace, operations, shapes, calls) or calls, common)


def _token_calls(trace: Trace, rank: int, leads: frozenset | None) -> list[Call]:
    """The calls in `leads` that give tokens of the images and are not outputs of the model."""
    outputs = set(trace.outputs)
    calls = [c for c in trace.calls if are_tokens(c, rank) and not outputs & set(c.outputs) and of_images(trace, c)]
    return [c for c in calls if leads is None or c.output[:2] in leads]


def _spatial_follows(trace: Trace, rank: int, leads: frozenset | None, counts: set[int], last: Call) -> bool:
    """Whether a spatial signal, other than attention heads, comes after the last tokens."""
    later = [c for c in spatial_calls(trace, rank, leads) if not counts & set(c.shape[1:3])]
    order = [c.output for c in trace.calls]
    return bool(later) and order.index(later[-1].output) > order.index(last.output)


def _before_attention(trace: Trace, operations: Callable[[], Trace], shapes: dict, calls: list[Call]) -> list[Call]:
    """The calls before the last attention."""
    seen = trace if all(map(trace.at, shapes)) else operations()  # only the latter has a function's probabilities
    order = [c.output[:2] for c in seen.calls]
    last = max(order.index(point[:2]) for point in shapes)
    return [c for c in calls if order.index(c.output[:2]) < last]


def _last_mixed(trace: Trace, rank: int, calls: list[Call], leads: frozenset | None, common: Callable) -> Call | None:
    """`last_tokens` for models without attention, if most layers with weights come after the last spatial signal, so
    that they work on tokens made from it."""
    spatial = spatial_calls(trace, rank, leads)
    if not spatial:
        return None
    stem = trace.calls[: trace.calls.index(spatial[-1]) + 1]
    count = math.prod(spatial_size(spatial[-1].shape, spatial[-1].channels_first))
    before = {c.output for c in stem}
    after = [c for c in calls if c.output not in before]
    patches = [c for c in after if c.shape[1] == count]
    mostly = sum(c.has_kernel for c in after) > sum(c.has_kernel for c in stem)
    return _normalised(patches, common) if patches and mostly else None


def _normalised(calls: list[Call], common: Callable[[Call], bool]) -> Call:
    """The last normalisation that lies on all paths; else the last call on all paths; else the last normalisation; else
    the last call. Projections in attention are not features."""
    norms = [c for c in calls if "norm" in c.kind.lower()]
    return next(found for found in ([*filter(common, norms)], [*filter(common, calls)], norms, calls) if found)[-1]
