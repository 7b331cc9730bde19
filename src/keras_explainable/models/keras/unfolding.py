"""Turn what a user's own layers compute outside of Keras layers (`x + y`, `ops.matmul`) into operations that can be
routed like layers, with their own paths, such as "block/add".

The `call` of such layers runs once on symbolic tensors, with stand-ins for the layers inside of them. From this run,
Keras makes a graph that belongs to this library. The user's model is not changed."""

import inspect
from collections import Counter
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import keras
from keras import ops, tree

from keras_explainable.models import layer_roles, recording

SIGNS = {
    "add": ops.add,
    "sub": ops.subtract,
    "mul": ops.multiply,
    "truediv": ops.divide,
    "floordiv": ops.floor_divide,
    "mod": ops.mod,
    "pow": ops.power,
    "matmul": ops.matmul,
}


class FoldedError(Exception):
    """The `call` of a model cannot run on symbolic tensors."""


class Seen(keras.Operation):
    """A call of a user's layer, as an operation of our own graph."""

    def __init__(self, layer: Any, before: Callable[[], None]) -> None:
        super().__init__()
        self.layer, self.before = layer, before

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_output_spec(*args, **kwargs)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        self.before()
        return self.layer(*args, **_untrained(self.layer, args, kwargs))


class Passed(keras.Operation):
    """Pass on the output of a layer whose parts are called one by one, so that it can be seen."""

    def __init__(self, see: Callable[[Any], Any]) -> None:
        super().__init__()
        self.see = see

    def compute_output_spec(self, values: Any) -> Any:
        return recording.each(values, lambda v: keras.KerasTensor(v.shape, v.dtype), _is_symbol)

    def call(self, values: Any) -> Any:
        return self.see(values)


def _input(value: Any) -> Any:
    dtype = keras.backend.standardize_dtype(value.dtype)
    return keras.Input(batch_shape=tuple(value.shape), dtype=dtype)  # an unused input needs a node too


def _is_symbol(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def is_own(layer: Any) -> bool:
    """Whether a layer's `call` is the user's own."""
    return isinstance(layer, keras.Layer) and layer_roles.of_layer(layer, "call") is None


def unfold(
    model: keras.Model, paths: dict[str, Any], arguments: tuple[tuple, dict], begin: Callable, see: Callable
) -> tuple[Callable, dict[str, list]]:
    """A function that computes what a model computes from its arguments, and the operations outside of layers, by path.

    When it runs, `begin(path, number)` is called before each call of a layer. `see(path, number, "output", values)` may
    replace the output of a layer whose parts are called one by one.

    Raises:
        FoldedError: the model cannot run on symbolic tensors.
    """
    unfolding = _Unfolding(model, paths, begin, see)
    symbols = recording.each(arguments, _input)
    args, kwargs = symbols
    try:
        outputs = unfolding.inside(model, args, kwargs)
        function = keras.Function(_symbols(symbols), outputs)
    except Exception as error:
        raise FoldedError(str(error)) from error
    return lambda *args, **kwargs: function(_tensors((args, kwargs))), unfolding.found


def _plain(layer: Any) -> Callable:
    """The uncompiled `call` of a layer's class."""
    call = type(layer).call
    return getattr(call, "python_function", call)


def _untrained(layer: Any, args: tuple, kwargs: dict) -> dict:
    """The keyword arguments of a call, with `training=False` if it is not given, as Keras passes it on."""
    known = list(inspect.signature(_plain(layer)).parameters)
    given = "training" not in known or known.index("training") <= len(args)  # the first parameter is the layer itself
    return kwargs if given or kwargs.get("training") is not None else kwargs | {"training": False}


def _symbols(structure: Any) -> list:
    return list(filter(_is_symbol, tree.flatten(structure)))


def _tensors(structure: Any) -> list:
    return list(filter(ops.is_tensor, tree.flatten(structure)))


def _weight(variable: keras.Variable) -> Any:
    """A stand-in for a weight, with the same class and attributes, whose arithmetic accepts symbolic tensors
    (`self.gamma * x`). A weight's own arithmetic does not."""
    kind = type(variable)

    def get(stand_in, name):
        return object.__getattribute__(stand_in, name) if name == "__class__" else getattr(variable, name)

    def arithmetic(sign, operation):
        def of(stand_in, other):
            return operation(variable, other) if _is_symbol(other) else getattr(variable, sign)(other)

        return of

    signs = {f"__{sign}__": arithmetic(f"__{sign}__", operation) for sign, operation in SIGNS.items()}
    names = {"__getattribute__": get, "__setattr__": object.__setattr__} | signs
    return object.__new__(type(kind.__name__, (kind,), names))


class _Unfolding:
    """One symbolic run of a model."""

    def __init__(self, model: Any, paths: dict[str, Any], begin: Callable, see: Callable) -> None:
        self.begin, self.see = begin, see
        self.paths = {id(model): ""} | {id(layer): path for path, layer in paths.items()}
        self.taken, self.counts = set(paths), Counter[str]()
        self.found: dict[str, list] = {}
        self.named: set[int] = set()

    def call(self, layer: Any, args: tuple, kwargs: dict) -> Any:
        """What a stand-in does when it is called."""
        if not _symbols((args, kwargs)):
            return layer(*args, **kwargs)
        path = self.paths[id(layer)]
        number = self.counts[path]
        self.counts[path] += 1
        if isinstance(layer, keras.Model) or is_own(layer):
            before = self.counts.copy()
            try:
                outputs = self.inside(layer, args, kwargs)
                symbols: list = []
                recording.each(outputs, symbols.append, _is_symbol)
                passed = iter(Passed(lambda values: self.see(path, number, "output", values))(symbols))
                return recording.each(outputs, lambda _: next(passed), _is_symbol)  # other parts are None or constants
            except Exception:  # then the inside of this layer stays hidden
                self.counts = before
        return Seen(layer, lambda: self.begin(path, number))(*args, **kwargs)

    def inside(self, layer: Any, args: tuple, kwargs: dict) -> Any:
        """The outputs of a layer whose parts are called one by one."""
        if is_own(layer):
            outputs = _plain(layer)(self.stand_in(layer), *args, **_untrained(layer, args, kwargs))
        elif isinstance(layer, keras.Sequential):
            (outputs,) = args
            for part in layer.layers:
                outputs = self.stand_in(part)(outputs)
        else:  # no public name runs a graph with replaced operations
            outputs = layer._run_through_graph(args[0], operation_fn=self.stand_in)
        self._name(self.paths[id(layer)], _symbols((args, kwargs)), _symbols(outputs))
        return outputs

    def stand_in(self, layer: Any) -> Any:
        """A stand-in for a layer, with the same class and attributes, whose call and whose parts' calls are seen."""
        kind = type(layer)

        def get(stand_in, name):
            own = object.__getattribute__(stand_in, "__dict__")
            if name in own or name == "__class__":
                return object.__getattribute__(stand_in, name)
            if name == "call":  # `layer.call(x)` is a call as well
                return lambda *args, **kwargs: self.call(layer, args, kwargs)
            method = inspect.getattr_static(kind, name, None)
            if isinstance(method, FunctionType):
                return MethodType(method, stand_in)
            if name.startswith("__"):
                return getattr(layer, name)
            return recording.each(getattr(layer, name), self._part, self._is_part)

        def call(stand_in, *args, **kwargs):
            return self.call(layer, args, kwargs)

        names = {"__getattribute__": get, "__setattr__": object.__setattr__, "__call__": call}
        return object.__new__(type(kind.__name__, (kind,), names))

    def _is_part(self, value: Any) -> bool:
        return id(value) in self.paths or isinstance(value, keras.Variable)

    def _part(self, part: Any) -> Any:
        return _weight(part) if isinstance(part, keras.Variable) else self.stand_in(part)

    def _name(self, inside: str, inputs: list, outputs: list) -> None:
        """Give paths to the operations between inputs and outputs. Those inside other layers already have theirs."""
        for operation in keras.Function(inputs, outputs).operations:
            if id(operation) in self.named or isinstance(operation, (Seen, Passed, keras.layers.InputLayer)):
                continue
            self.named.add(id(operation))
            path = f"{inside}/{type(operation).__name__.lower()}".strip("/")
            while path in self.taken:
                path += "_"
            self.found.setdefault(path, []).append(operation)
