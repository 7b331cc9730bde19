"""What the configuration in a Keras file may name: objects of Keras, and those that the user has imported already.

Keras looks names up and imports modules while it builds a model. So the whole configuration is walked before that.
"""

import inspect
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

BYTES = 16 << 20
CONTAINERS = 500_000  # lists and dictionaries
DEPTH = 100
LAYERS = 5_000
CALLS = 10_000
STEPS = 1_000_000  # layers, times the rounds in which they can be connected
NESTED = 10  # models in models
VALUES = 1 << 26  # of one input

NAMESPACES = ("activations", "initializers", "regularizers", "losses", "ops")  # whose functions compute, and no more
LEGACY = ("layers", "models", "initializers", "regularizers", "constraints", "dtype_policies")  # named without a module
NO_FUNCTIONS = {"serialize", "deserialize", "get"}  # by which a namespace finds its objects
# Functions of keras.ops that call others, as often as a file says.
LOOPS = {"associative_scan", "cond", "custom_gradient", "fori_loop", "jvp", "map", "scan", "switch", "vectorize"}
LOOPS |= {"vectorized_map", "while_loop"}
# Layers of Keras that are more than computations.
REFUSED = {
    "TFSMLayer": "which loads a SavedModel from a path",
    "TorchModuleWrapper": "which unpickles a module of PyTorch",
    "JaxLayer": "which calls Python functions",
    "FlaxLayer": "which calls Python functions",
    "MelSpectrogram": "which computes tables of any size, and takes sound",
    "STFTSpectrogram": "which computes tables of any size, and takes sound",
}
LOOPING = ("AssociativeScan", "Cond", "ForiLoop", "Map", "Scan", "Switch", "VectorizedMap", "WhileLoop")
REFUSED |= dict.fromkeys(LOOPING, "which calls functions as often as the file says")
DATA = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__"}
DATA |= {"TensorShape"}
NUMBERS = re.compile(r"bool|string|bfloat16|(u?int|float|complex)\d{1,3}|float8_e\dm\d\w*")
ALLOW = "If you trust its source, allow it: --unsafe, or safe_mode=False"


class Refused(Exception):
    """What a file is or does, and what to do about it: the two sentences of an error, without the file's name."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy


@dataclass(frozen=True)
class _Place:
    """Where in a configuration: the names of the layers around, the models among them, and the depth."""

    layers: tuple[str, ...] = ()
    models: int = 0
    depth: int = 0

    def __str__(self) -> str:
        return " in " + " inside ".join(repr(name) for name in reversed(self.layers)) if self.layers else ""


def read(text: bytes | str) -> Any:
    """The configuration. Raises: Refused: it is no JSON, or larger than that of any known model."""
    data = text.encode() if isinstance(text, str) else text
    if len(data) > BYTES or data.count(b"{") + data.count(b"[") > CONTAINERS:
        raise too_much(f"a configuration of more than {BYTES:,} bytes, or {CONTAINERS:,} lists")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("is damaged: its configuration cannot be read", "Copy or download it again") from None


def check(config: Any) -> dict[str, Any]:
    """The user's own objects that a configuration names. How models were compiled is checked as well, and taken off.

    Raises:
        Refused: it names more than safe mode makes, or by far more than a model has.
    """
    own: dict[str, Any] = {}
    layers = calls = 0
    waiting = [(config, _Place())]
    while waiting:
        node, place = waiting.pop()
        if place.depth > DEPTH:
            raise too_much(f"a configuration nested more than {DEPTH} deep")
        children = node if isinstance(node, list) else list(node.values())
        if isinstance(node, dict):
            compiled = node.pop("compile_config", None)
            if not place.depth:  # `compile=False` passes it by
                children = [child for child in children if child is not compiled]
            made = _object(node, place, own) if "class_name" in node else None
            if isinstance(made, type) and issubclass(made, keras.Operation):
                layers += 1
                place = _Place((*place.layers, _name(node)), place.models + issubclass(made, keras.Model), place.depth)
            calls += _calls(node)
            _check_sizes(node)
        if layers > LAYERS or calls > CALLS:
            raise too_much(f"more than {LAYERS:,} layers, or {CALLS:,} calls of them")
        if place.models > NESTED:
            raise too_much(f"models in models, more than {NESTED} deep")
        below = _Place(place.layers, place.models, place.depth + 1)
        waiting.extend((child, below) for child in children if isinstance(child, dict | list))
    return own


def too_much(what: str) -> Refused:
    """The refusal of what is larger than in any known model."""
    return Refused(f"has {what}: no known model needs that, and it may exhaust memory or time", ALLOW)


def _object(node: dict, place: _Place, own: dict[str, Any]) -> Any:
    """The class or function that an entry names, None for plain data. Raises: Refused: safe mode does not make it."""
    name, module = node["class_name"], node.get("module")
    inner, registered = node.get("config"), node.get("registered_name", name)
    if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        raise Refused("is damaged: its configuration names objects by something else than text", "Copy it again")
    if name in DATA:
        _check_data(inner, place)
        return None
    if name == "__lambda__" or (name == "Lambda" and isinstance(inner, dict) and _is_code(inner.get("function"))):
        where = place if name == "__lambda__" else _Place((*place.layers, _name(node)))
        raise Refused(f"brings Python code of its own (a lambda{where}), which safe mode refuses to run", ALLOW)
    if name == "function":
        return _function(inner, module, registered, place, own)
    users = keras.saving.get_registered_object(registered or name)
    if users is not None:
        own[registered or name] = users
        return users
    found = _found(module, name)
    if found is None:
        whole = registered if registered and ">" in registered else f"{module}.{name}" if module else name
        raise Refused(
            f"uses {whole}, which is not known here ({str(place).strip() or 'at the top'}), and safe mode imports "
            "nothing by a file's word",
            f"Import it in Python, and explain the model there. {ALLOW}",
        )
    reason = REFUSED.get(found.__name__)
    if reason or not issubclass(found, _kinds()):
        reason = reason or "which is no layer of Keras 3, nor a part of one"
        raise Refused(f"uses {found.__name__}{place}, {reason}; safe mode refuses it", ALLOW)
    if isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):
        raise Refused(f"makes {name}{place} read a file ({inner['vocabulary'][-80:]}); safe mode refuses it", ALLOW)
    return found


def _function(name: Any, module: str | None, registered: str | None, place: _Place, own: dict[str, Any]) -> Any:
    """A function of Keras that only computes, or of the user's. Raises: Refused: any other."""
    users = keras.saving.get_registered_object(name) if isinstance(name, str) else None
    if users is not None:
        own[name] = users
        return users
    spaces = [s for s in NAMESPACES if module in ("builtins", None, f"keras.{s}")]
    if module and module.startswith("keras.ops."):
        spaces = ["ops"]
    if isinstance(name, str) and registered in (None, name, "function") and name not in NO_FUNCTIONS | LOOPS:
        for space in spaces:
            if inspect.isfunction(found := getattr(getattr(keras, space), name, None)):
                return found
    raise Refused(
        f"calls the function {module}.{name}{place}; safe mode allows those of keras.{', keras.'.join(NAMESPACES)}, "
        "and yours that are registered with keras.saving",
        ALLOW,
    )


def _found(module: str | None, name: str) -> type | None:
    """The class at a name, in a module that is imported already; None if there is none."""
    if module is None:
        homes = [getattr(keras, space) for space in LEGACY]
        if name == "Functional":
            return keras.Model
    else:
        homes = [sys.modules.get(module)]
    found = next((vars(home)[name] for home in homes if home and name in vars(home)), None)
    if found is None and module is None:  # a layer that has another name in public
        found = next((made for made in vars(keras.layers).values() if getattr(made, "__name__", "") == name), None)
    return found if isinstance(found, type) else None


def _kinds() -> tuple[type, ...]:
    """The classes of what a model consists of, and of what it was trained with."""
    model = (keras.Operation, keras.Initializer, keras.Regularizer, keras.DTypePolicy, keras.Quantizer)
    quantization = getattr(keras.quantizers, "QuantizationConfig", keras.Quantizer)
    training = (keras.Optimizer, keras.Loss, keras.Metric, keras.optimizers.schedules.LearningRateSchedule)
    return (*model, keras.constraints.Constraint, quantization, *training)


def _is_code(function: Any) -> bool:
    """Whether this is bytecode, as Keras writes it now or wrote it in HDF5 files."""
    return isinstance(function, list) or (isinstance(function, dict) and function.get("class_name") == "__lambda__")


def _check_data(inner: Any, place: _Place) -> None:
    dtype = inner.get("dtype") if isinstance(inner, dict) else None
    if dtype is not None and not (isinstance(dtype, str) and NUMBERS.fullmatch(dtype)):
        raise Refused(f"holds numbers of the type {str(dtype)[:40]!r}{place}", "Expected a type of Keras, as float32")


def _name(node: dict) -> str:
    inner = node.get("config")
    own = node.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
    return str(own or node["class_name"])[:80]


def _calls(node: dict) -> int:
    """How often a layer is called. Raises: Refused: a model's layers stand in an order that takes long to connect."""
    inbound, layers = node.get("inbound_nodes"), node.get("layers")
    if isinstance(layers, list):
        order = {layer.get("name"): i for i, layer in enumerate(layers) if _is_named(layer)}
        late = 0  # layers that wait for a later one: each may take one more round through all
        for i, layer in enumerate(layers):
            later = (order.get(name, -1) > i for name in _references(layer) if isinstance(name, str))
            late += _is_named(layer) and any(later)
        if late * len(layers) > STEPS:
            raise too_much("layers in an order that takes more than a million steps to connect")
    return len(inbound) if isinstance(inbound, list) else 0


def _is_named(layer: Any) -> bool:
    return isinstance(layer, dict) and isinstance(layer.get("name"), str)


def _references(layer: Any) -> Iterator[Any]:
    """The names of the layers whose outputs a layer takes, in either of the formats."""
    waiting = [layer.get("inbound_nodes")] if isinstance(layer, dict) else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list) and len(node) > 1 and isinstance(node[0], str) and isinstance(node[1], int):
            yield node[0]
        elif isinstance(node, list):
            waiting.extend(node)


def _check_sizes(node: dict) -> None:
    for key in ("batch_shape", "batch_input_shape", "build_input_shape"):
        shape = node.get(key)
        sides = [side for side in shape if isinstance(side, int)] if isinstance(shape, list) else []
        if math.prod(sides) > VALUES:
            raise too_much(f"an input of shape {shape}, more than {VALUES:,} values"[:200])
