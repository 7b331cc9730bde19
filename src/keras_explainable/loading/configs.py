"""Check the configuration in a Keras file. It may name only objects of Keras and those that the user already imported.

Keras looks up names and imports modules while it builds a model. So the whole configuration is checked before that.
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
CALLS = 10_000  # of layers in total; a layer in a model counts once for each call of that model
STEPS = 1_000_000  # number of layers times the rounds that connecting them takes
NESTED = 10  # depth of models in models
VALUES = 1 << 26  # in one input

NAMESPACES = ("activations", "initializers", "regularizers", "losses", "ops")  # with functions that only compute
# Older files name the classes of these without a module.
LEGACY = ("layers", "models", "initializers", "regularizers", "constraints", "dtype_policies")
NO_FUNCTIONS = {"serialize", "deserialize", "get"}  # these look up other objects of a namespace
# Functions of keras.ops that call other functions, as often as the file says.
LOOPS = {"associative_scan", "cond", "custom_gradient", "fori_loop", "jvp", "map", "scan", "switch", "vectorize"}
LOOPS |= {"vectorized_map", "while_loop"}
# Layers of Keras that do more than compute.
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
PUBLISHERS = ("keras", "keras_cv", "keras_hub", "keras_nlp")
PATHS = {"vocabulary", "merges", "proto", "special_tokens", "language_tokens"}  # settings that may name a file
LONGEST_PATH = 4096
# Settings of layers that must be numbers: a list would enlarge the signal without changing its declared shape.
NUMBERS_ALONE = {"alpha", "epsilon", "mask_value", "max_value", "negative_slope", "threshold"}
TRIED = ((2, 3, 4, 6), (2, 6))  # shapes of signals on which functions are tried
DATA = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__"}
DATA |= {"TensorShape"}
NUMBERS = re.compile(r"bool|string|bfloat16|(u?int|float|complex)\d{1,3}|float8_e\dm\d\w*")
ALLOW = "If you trust its source, allow it: --unsafe, or safe_mode=False"


class Refused(Exception):
    """A file is rejected. Holds the problem and the remedy: the sentences of the error, without the file's name."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy


@dataclass(frozen=True)
class _Place:
    """A place in a configuration: the names of the enclosing layers, the number of models among them, how often they
    are called in total, and the depth."""

    layers: tuple[str, ...] = ()
    models: int = 0
    times: int = 1
    depth: int = 0

    def __str__(self) -> str:
        return " in " + " inside ".join(repr(name) for name in reversed(self.layers)) if self.layers else ""


def read(text: bytes | str) -> Any:
    """Parse the configuration. Raise Refused if it is not JSON or is larger than that of any known model."""
    data = text.encode() if isinstance(text, str) else text
    if len(data) > BYTES or data.count(b"{") + data.count(b"[") > CONTAINERS:
        raise too_much(f"a configuration of more than {BYTES:,} bytes, or {CONTAINERS:,} lists")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("is damaged: its configuration cannot be read", "Copy or download it again") from None


def check(config: Any) -> tuple[dict[str, Any], bool]:
    """Check a configuration, and remove what Keras must not read.

    This is how models inside the model were compiled, and the output shape that a `Lambda` declares for a function of
    Keras.

    Returns the user's own objects that the configuration names, and whether anything was removed.

    Raises:
        Refused: it names objects that safe mode does not create, or is far larger than that of any known model.
    """
    own: dict[str, Any] = {}
    shared: dict[Any, list[dict]] = {}
    layers = calls = 0
    changed = False
    waiting = [(config, _Place())]
    while waiting:
        node, place = waiting.pop()
        if place.depth > DEPTH:
            raise too_much(f"a configuration nested more than {DEPTH} deep")
        children = node if isinstance(node, list) else list(node.values())
        if isinstance(node, dict):
            compiled = node.pop("compile_config", None)
            if not place.depth:  # `compile=False` skips it
                children = [child for child in children if child is not compiled]
            changed |= place.depth > 0 and compiled is not None
            made = _object(node, place, own) if "class_name" in node else None
            times = place.times * max(1, _calls(node))
            if isinstance(made, type) and issubclass(made, keras.Operation):
                layers, calls = layers + 1, calls + times
                changed |= _check_layer(made, node, place)
                models = place.models + issubclass(made, keras.Model)
                place = _Place((*place.layers, _name(node)), models, times, place.depth)
                if "shared_object_id" in node:
                    _shared(node, shared)
            _check_sizes(node)
        if layers > LAYERS or calls > CALLS:
            raise too_much(f"more than {LAYERS:,} layers, or more than {CALLS:,} calls of layers")
        if place.models > NESTED:
            raise too_much(f"models nested more than {NESTED} deep")
        below = _Place(place.layers, place.models, place.times, place.depth + 1)
        waiting.extend((child, below) for child in children if isinstance(child, dict | list))
    if any(_made_of(node) != _made_of(nodes[0]) for nodes in shared.values() for node in nodes[1:]):
        raise Refused(
            "uses one layer in several places (shared_object_id) and describes it differently there",
            f"Keras writes no such file. {ALLOW}",
        )
    return own, changed


def too_much(what: str) -> Refused:
    """The error for something larger than in any known model."""
    return Refused(f"has {what}: no known model needs that much, and loading it may exhaust memory or time", ALLOW)


def _object(node: dict, place: _Place, own: dict[str, Any]) -> Any:
    """The class or function that an entry names, None for plain data. Raise Refused if safe mode does not allow it."""
    name, module = node["class_name"], node.get("module")
    inner, registered = node.get("config"), node.get("registered_name", name)
    if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        raise Refused("is damaged: its configuration names an object by something other than text", "Copy it again")
    if name in DATA:
        _check_data(inner, place)
        return None
    if name == "__lambda__" or (name == "Lambda" and isinstance(inner, dict) and _is_code(inner.get("function"))):
        where = place if name == "__lambda__" else _Place((*place.layers, _name(node)))
        raise Refused(f"contains Python code of its own (a lambda{where}), which safe mode does not run", ALLOW)
    if name == "function":
        return _function(inner, module, registered, place, own)
    users = _registered(registered or name)
    found = _found(module, name) if users is None else users
    _check_paths(found, node, place)
    if users is not None:
        own[registered or name] = users
        return users
    if found is None:
        whole = registered if registered and ">" in registered else f"{module}.{name}" if module else name
        raise Refused(
            f"uses {whole}, which is not known here ({str(place).strip() or 'at the top'}), and safe mode does not "
            "import what a file names",
            f"Import it in Python, and explain the model there. {ALLOW}",
        )
    reason = REFUSED.get(found.__name__)
    if reason or not issubclass(found, _kinds()):
        reason = reason or "which is neither a layer of Keras 3 nor a part of one"
        raise Refused(f"uses {found.__name__}{place}, {reason}; safe mode refuses it", ALLOW)
    return found


def _check_paths(made: Any, node: dict, place: _Place) -> None:
    """Raise Refused if a layer of one of Keras's own libraries would read another file."""
    inner = node["config"] if isinstance(node.get("config"), dict) else {}
    paths = [inner[key] for key in PATHS & inner.keys() if isinstance(inner[key], str)]
    paths = [path for path in paths if len(path) <= LONGEST_PATH]  # a longer text is the content of a file
    if paths and getattr(made, "__module__", "").partition(".")[0] in PUBLISHERS:
        raise Refused(f"makes {node['class_name']}{place} read a file ({paths[0][-80:]}); safe mode refuses it", ALLOW)


def _function(name: Any, module: str | None, registered: str | None, place: _Place, own: dict[str, Any]) -> Any:
    """A function of Keras that only computes, or one of the user's. Raise Refused for any other."""
    users = _registered(name)
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
        "and your own that are registered with keras.saving",
        ALLOW,
    )


def _check_layer(made: Any, node: dict, place: _Place) -> bool:
    """Check the settings by which the output of a layer of Keras could differ from its declared shape.

    Returns whether something was removed. Raise Refused if there is such a setting.
    """
    inner = node.get("config")
    if not isinstance(inner, dict) or not made.__module__.startswith("keras."):
        return False
    functions = {key: value for key, value in inner.items() if _class_of(value) == "function"}
    where = f"{_name(node)!r}{place}"
    if made is keras.layers.Lambda:
        if any(_registered(value["config"]) for value in functions.values()):
            return False
        if "mask" in functions:
            raise Refused(f"computes the mask of {where} by a function; safe mode refuses it", ALLOW)
        return inner.pop("output_shape", None) is not None
    for key, value in functions.items():
        name, module, registered = (value.get(k) for k in ("config", "module", "registered_name"))
        here = _Place((*place.layers, _name(node)))
        if not _keeps_shapes(_function(name, module, registered, here, {})):
            wanted = "where one that returns signals of the shape that it gets was expected"
            raise Refused(f"calls the function {module}.{name} as the {key} of {where}, {wanted}", ALLOW)
    for key in NUMBERS_ALONE & inner.keys():
        if isinstance(inner[key], list | dict):
            raise Refused(f"has a list as the {key} of {where}, where a number was expected", ALLOW)
    return False


def _registered(name: Any) -> Any:
    """The object that the user registered with Keras under this name, or None."""
    return keras.saving.get_registered_object(name) if isinstance(name, str) else None


def _class_of(value: Any) -> Any:
    """The name of a value's class, if it is an entry with a configuration, else None."""
    return value.get("class_name") if isinstance(value, dict) and "config" in value else None


def _keeps_shapes(function: Any) -> bool:
    """Whether a function returns signals of the shape that it gets. Assumed if it is not one of `keras.ops`."""
    if vars(keras.ops).get(getattr(function, "__name__", "")) is not function:
        return True
    kept = []
    for shape in TRIED:
        try:
            kept.append(function(keras.KerasTensor(shape)).shape == shape)
        except Exception:
            continue  # the function does not take this shape
    return bool(kept) and all(kept)


def _shared(node: dict, shared: dict[Any, list[dict]]) -> None:
    """Record a layer that is used in several places. Keras builds it once, from the first description that it reads."""
    try:
        shared.setdefault(node["shared_object_id"], []).append(node)
    except TypeError:
        raise Refused("is damaged: it has an invalid shared_object_id", "Copy or download it again") from None


def _made_of(node: dict) -> list[Any]:
    return [_plain(node.get(key)) for key in ("class_name", "module", "registered_name", "config", "build_config")]


def _plain(value: Any) -> Any:
    """The value without `shared_object_id`, which Keras does not write everywhere."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key != "shared_object_id"}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _found(module: str | None, name: str) -> type | None:
    """The class of this name in a module that is already imported, or None."""
    if module is None:
        homes = [getattr(keras, space) for space in LEGACY]
        if name == "Functional":
            return keras.Model
    else:
        homes = [sys.modules.get(module)]
    found = next((vars(home)[name] for home in homes if home and name in vars(home)), None)
    if found is None and module is None:  # a layer with a different public name
        found = next((made for made in vars(keras.layers).values() if getattr(made, "__name__", "") == name), None)
    return found if isinstance(found, type) else None


def _kinds() -> tuple[type, ...]:
    """The base classes of the parts of a model and of what it was trained with."""
    model = (keras.Operation, keras.Initializer, keras.Regularizer, keras.DTypePolicy, keras.Quantizer)
    quantization = getattr(keras.quantizers, "QuantizationConfig", keras.Quantizer)
    training = (keras.Optimizer, keras.Loss, keras.Metric, keras.optimizers.schedules.LearningRateSchedule)
    return (*model, keras.constraints.Constraint, quantization, *training)


def _is_code(function: Any) -> bool:
    """Whether this is bytecode, in the current format or in the older one of HDF5 files."""
    return isinstance(function, list) or (isinstance(function, dict) and function.get("class_name") == "__lambda__")


def _check_data(inner: Any, place: _Place) -> None:
    dtype = inner.get("dtype") if isinstance(inner, dict) else None
    if dtype is not None and not (isinstance(dtype, str) and NUMBERS.fullmatch(dtype)):
        found = f"holds numbers of the type {str(dtype)[:40]!r}{place}, and a Keras dtype was expected"
        raise Refused(found, "Save it again with one such as float32")


def _name(node: dict) -> str:
    inner = node.get("config")
    own = node.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
    return str(own or node["class_name"])[:80]


def _calls(node: dict) -> int:
    """How often a layer is called. Raise Refused if connecting a model's layers would take too long."""
    inbound, layers = node.get("inbound_nodes"), node.get("layers")
    if isinstance(layers, list):
        order = {layer.get("name"): i for i, layer in enumerate(layers) if _is_named(layer)}
        late = 0  # layers that need a later one: each may take one more round over all layers
        for i, layer in enumerate(layers):
            later = (order.get(name, -1) > i for name in _references(layer) if isinstance(name, str))
            late += _is_named(layer) and any(later)
        if late * len(layers) > STEPS:
            raise too_much("layers in an order that takes more than a million steps to connect")
    return len(inbound) if isinstance(inbound, list) else 0


def _is_named(layer: Any) -> bool:
    return isinstance(layer, dict) and isinstance(layer.get("name"), str)


def _references(layer: Any) -> Iterator[Any]:
    """The names of the layers whose outputs a layer takes, in either format of files."""
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
