"""Find the attention probabilities (batch, heads, tokens, tokens) of Keras layers, and make them available.

`MultiHeadAttention` has a fused path that never computes them, unless they are requested."""

from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_explainable.models.trace import Point, Trace


def holds(layer: Any) -> bool:
    """Whether a layer may have attention probabilities."""
    return isinstance(layer, (keras.layers.MultiHeadAttention, keras.layers.Softmax)) or (
        isinstance(layer, keras.layers.Activation) and getattr(layer.activation, "__name__", "") == "softmax"
    )


def is_inside(paths: dict[str, Any], path: str) -> bool:
    """Whether a layer is inside an attention layer."""
    parents = path.split("/")[:-1]
    known = keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention
    return any(isinstance(paths.get("/".join(parents[: i + 1])), known) for i in range(len(parents)))


def is_plain(layer: Any) -> bool:
    """Whether an attention layer computes softmax(Q K^T) V and nothing more."""
    computed = type(layer)._compute_attention is keras.layers.MultiHeadAttention._compute_attention
    # Not by `get_config()`, with which Keras imports TensorFlow if it is installed: 5 s and 400 MB.
    gated = any(weight.path.split("/")[-2:-1] == ["gate"] for weight in layer.weights)
    return computed and not gated


def owners(paths: dict[str, Any], points: Iterable[Point]) -> dict[str, str]:
    """For the attention layers at `points`, the path of the softmax inside, mapped to the path of the attention
    layer."""
    found = {}
    for owner in {p.path for p in points if p.link == "attention"}:
        if isinstance(paths[owner], keras.layers.MultiHeadAttention):
            inside = (p for p, layer in paths.items() if p.rpartition("/")[0] == owner and holds(layer))
            found.update(dict.fromkeys(inside, owner))
    return found


def with_scores(plain: Callable, args: tuple, kwargs: dict) -> Any:
    """The output of an attention layer that is made to compute its probabilities."""
    if kwargs.get("return_attention_scores"):
        return plain(*args, **kwargs)
    return plain(*args, **kwargs | {"return_attention_scores": True})[0]


def candidates(trace: Trace, paths: dict[str, Any]) -> list[Point]:
    """The points where a model may have attention probabilities: its attention layers, and softmax layers of that
    shape."""
    layers = ((call, paths[call.path]) for call in trace.calls)
    return [
        Point(call.path, call.call, "attention")
        for call, layer in layers
        if holds(layer) and (isinstance(layer, keras.layers.MultiHeadAttention) or is_square(call.shape))
    ]


def is_square(shape: tuple) -> bool:
    """Whether a softmax of this shape may be that of attention. Channels-last images can have such a shape too."""
    return len(shape) == 4 and shape[-1] > 1 and shape[-2] in (1, shape[-1])
