"""A Keras model read into the NumPy net of `reference.net`, so that the slow twins run on equal weights."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from reference import layers, token_layers
from reference import net as n
from support import keras_models

ACTIVATIONS = {
    "gelu": token_layers.Gelu,
    "relu": layers.Relu,
    "relu6": layers.Relu6,
    "softmax": layers.Softmax,
    "sigmoid": layers.Sigmoid,
}
FINAL = (layers.Softmax, layers.Sigmoid)


def array(weight: Any) -> np.ndarray | None:
    return None if weight is None else np.asarray(keras.ops.convert_to_numpy(weight), "float64")


def convolution(kind: type) -> Callable:
    return lambda layer: kind(
        array(layer.kernel),
        array(layer.bias),
        strides=tuple(layer.strides),
        padding=layer.padding,
        dilation=layer.dilation_rate[0],
    )


def pooling(kind: type) -> Callable:
    return lambda layer: kind(tuple(layer.pool_size), strides=tuple(layer.strides), padding=layer.padding)


def normalization(layer: Any) -> layers.Affine:
    weights = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    return layers.batch_norm(*map(array, weights), layer.epsilon)


def identity(layer: Any) -> layers.Add:
    return layers.Add()  # of one value


OPERATIONS: dict[str, Callable] = {
    "DepthwiseConv2D": convolution(layers.DepthwiseConv),
    "Dense": lambda layer: layers.Dense(array(layer.kernel), array(layer.bias)),
    "BatchNormalization": normalization,
    "Rescaling": lambda layer: layers.Affine(
        np.array([layer.scale]), np.array([layer.offset]) if layer.offset else None
    ),
    "ReLU": lambda layer: layers.Relu6() if layer.max_value == 6 else layers.Relu(),
    "Activation": lambda layer: ACTIVATIONS[layer.activation.__name__](),
    "Softmax": lambda layer: layers.Softmax(),
    "Add": lambda layer: layers.Add(),
    "Concatenate": lambda layer: layers.Concat(),
    "Flatten": lambda layer: layers.Flatten(),
    "Dropout": identity,
    "Reshape": lambda layer: layers.Reshape(layer.target_shape),
    "Tokens": lambda layer: token_layers.Tokens(array(layer.token), array(layer.position)),
    "First": lambda layer: token_layers.First(),
    "LayerNormalization": lambda layer: token_layers.LayerNorm(array(layer.gamma), array(layer.beta), layer.epsilon),
}
for rank in (1, 2, 3):
    OPERATIONS |= {
        f"Conv{rank}D": convolution(layers.Conv),
        f"MaxPooling{rank}D": pooling(layers.MaxPool),
        f"AveragePooling{rank}D": pooling(layers.AvgPool),
        f"GlobalAveragePooling{rank}D": lambda layer: layers.GlobalAvgPool(),
    }


class Reader:
    """Nodes, in the order of execution. The value of a layer is named by its path, "path:1" at its second call, and
    "path@linear" before a fused activation."""

    def __init__(self) -> None:
        self.nodes: list[n.Node] = []
        self.calls: Counter[str] = Counter()

    def add(self, path: str, op: Any, *inputs: str, activation: Any = None) -> str:
        name = path + (f":{self.calls[path]}" if self.calls[path] else "")
        self.calls[path] += 1
        if activation is not None:
            self.nodes.append(n.Node(f"{name}@linear", op, inputs))
            op, inputs = activation, (f"{name}@linear",)
        self.nodes.append(n.Node(name, op, inputs))
        return name

    def layer(self, layer: Any, prefix: str, *inputs: str) -> str:
        """A layer on named values; the name of its value."""
        path = prefix + layer.name
        if isinstance(layer, keras.Model):
            return self.model(layer, path + "/", *inputs)
        if isinstance(layer, keras.layers.MultiHeadAttention):
            return self.attention(layer, path, *inputs)
        kind = type(layer).__name__
        fused = None if kind == "Activation" else getattr(layer, "activation", None)
        activation = None if fused is None or fused.__name__ == "linear" else ACTIVATIONS[fused.__name__]()
        return self.add(path, OPERATIONS[kind](layer), *inputs, activation=activation)

    def attention(self, layer: Any, path: str, query: str, value: str) -> str:
        """Attention with heads; its probabilities are named "path@attention"."""
        weights = [array(w) for w in layer.get_weights()]  # of query, key, value and output, each a kernel and a bias
        heads = [token_layers.Heads(*weights[i : i + 2]) for i in (0, 2, 4)]
        sources = (query, value, value)
        q, k, v = (self.add(f"{path}@{t}", h, x) for t, h, x in zip("qkv", heads, sources, strict=True))
        probabilities = self.add(
            f"{path}@attention", layers.Softmax(), self.add(f"{path}@scores", token_layers.Products(), q, k)
        )
        return self.add(
            path, token_layers.Joined(*weights[6:]), self.add(f"{path}@mixed", token_layers.Mixed(), probabilities, v)
        )

    def model(self, model: keras.Model, prefix: str, x: str) -> str:
        if isinstance(model, keras_models.Twice):
            return self.twice(model, prefix, x)
        if not isinstance(model, keras.Sequential):
            return self.functional(model, prefix, x)
        for layer in model.layers:
            x = self.layer(layer, prefix, x)
        return x

    def functional(self, model: keras.Model, prefix: str, x: str) -> str:
        """By the model's configuration, which tells every call of a layer, and which call made each input."""
        config = model.get_config()
        made = {tuple(config["input_layers"][:2]): x}
        waiting = [
            (entry["name"], i, [tuple(history[:2]) for history in histories(node["args"])])
            for entry in config["layers"]
            for i, node in enumerate(entry["inbound_nodes"])
        ]
        while waiting:
            ready = next(call for call in waiting if all(source in made for source in call[2]))
            waiting.remove(ready)
            name, i, sources = ready
            made[name, i] = self.layer(model.get_layer(name), prefix, *(made[source] for source in sources))
        return made[tuple(config["output_layers"][:2])]

    def twice(self, model: "keras_models.Twice", prefix: str, x: str) -> str:
        """What `keras_models.Twice.call` does."""
        x = self.layer(model.norm, prefix, self.layer(model.stem, prefix, x))
        x = self.add(prefix + "ops.relu", layers.Relu(), self.layer(model.twice, prefix, x))
        x = self.layer(model.rectify, prefix, self.layer(model.twice, prefix, x))
        return self.layer(model.logits, prefix, self.add(prefix + "ops.mean", layers.GlobalAvgPool(), x))


def histories(value: Any) -> list:
    """The `keras_history` of every tensor in a serialised structure of arguments."""
    if isinstance(value, dict):
        found = value.get("config", {}).get("keras_history")
        return [found] if found else []
    return [h for item in value for h in histories(item)] if isinstance(value, (list, tuple)) else []


def as_reference(model: keras.Model) -> n.Net:
    """The NumPy twin of a model of `models` with its present weights: scores before a last softmax or sigmoid, channels
    last. A model without weights yet is built by it: pass a second one of the same kind to keep the first as it is."""
    if not model.built:
        model.build((None, *keras_models.SIZE, 3))
    reader = Reader()
    score = reader.model(model, "", "input")
    nodes = {node.name: node for node in reader.nodes}
    if isinstance(nodes[score].op, FINAL):
        score = nodes[score].inputs[0]
    head = [layers.GlobalAvgPool, layers.Flatten]
    signal = next((node.inputs[0] for node in reader.nodes if type(node.op) in head), "")
    return n.Net(tuple(reader.nodes), score, signal)
