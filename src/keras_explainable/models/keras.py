"""Keras models behind the contract: while the user's model runs, the `call` (and the fused activation) of chosen layers
is routed through a tap, in a scope that only its own thread sees and that restores everything when it ends."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import keras
from keras import ops, tree

from keras_explainable import backend
from keras_explainable.errors import LayerError
from keras_explainable.models import find, keras_kinds, kinds, precision, recording
from keras_explainable.models import keras_attention as attention
from keras_explainable.models.inputs import Inputs, as_declared, check_alone, sampled
from keras_explainable.models.taps import INPUT, Call, Deviation, Point, Tap, Trace

_session: ContextVar["Session | None"] = ContextVar("session", default=None)
_traces = recording.Traces()
MISSING = object()
OWN = ("training", "mask")  # parameters of a `call` that are no inputs
POOLING_LAYERS = (
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
)


class Session(recording.Session):
    """One run, whose layers' calls and fused activations are routed through it."""

    def __init__(
        self, paths: dict[int, str], tap: Tap, points: frozenset[Point] | None, owners: dict[str, str] | None = None
    ) -> None:
        super().__init__(paths, tap, points)
        self.owners = owners or {}  # of the softmax inside of an attention layer, that layer

    def call(self, layer: Any, plain: Any, args: tuple, kwargs: dict) -> Any:
        path = self.paths[id(layer)]
        if path in self.owners:
            owner = self.owners[path]
            return self.see(Point(owner, self.counts[owner], "attention"), plain(*args, **kwargs))
        number = self.begin(path)
        args, kwargs = self.see_all(path, number, "input", (args, kwargs))
        shown = path in self.owners.values()
        output = attention.with_scores(plain, args, kwargs) if shown else plain(*args, **kwargs)
        output = self.see_all(path, number, "output", output)
        return output if self.points is None or shown else self.see_all(path, number, "attention", output)

    def activation(self, layer: Any, value: Any) -> Any:
        path = self.paths[id(layer)]
        return self.see(Point(path, self.counts[path], "linear"), value)


def _route(layer: Any) -> Callable[[], None]:
    """Send a layer's call and fused activation past the session of the thread that runs it; returns how to undo it."""
    undo = []

    def put(name, value):
        undo.append((name, layer.__dict__.get(name, MISSING)))
        object.__setattr__(layer, name, value)

    name = "quantized_call" if getattr(layer, "quantization_mode", None) else "call"
    plain = getattr(layer, name)
    plain = getattr(plain, "python_function", plain)  # a compiled `call` would keep its signals to itself

    @functools.wraps(plain)
    def call(*args, **kwargs):
        session = _session.get()
        if session is None or id(layer) not in session.paths:
            return plain(*args, **kwargs)
        return session.call(layer, plain, args, kwargs)

    put(name, call)
    if getattr(layer, "_remat_mode", None) is not None:
        put("_remat_mode", None)  # so would one that is run again for the backward pass; no public name turns that off
    if isinstance(layer, keras.layers.Softmax):
        put("_parent_path", getattr(layer, "_parent_path", None))  # Keras's note of a first call: ours, in attention
    fused = getattr(layer, "activation", None)
    fused = keras.activations.get(fused) if isinstance(fused, str) else fused  # users write 'linear'
    if callable(fused) and not _is_activation_layer(layer):

        @functools.wraps(fused)
        def activation(x, *args, **kwargs):
            session = _session.get()
            if session is not None and id(layer) in session.paths and session.paths[id(layer)] in session.counts:
                x = session.activation(layer, x)
            return fused(x, *args, **kwargs)

        put("activation", activation)
    if hasattr(layer, "operations"):
        # Models built for one image size run at others, as their layers can. The public setter of `input_spec` could
        # not be undone; this is the attribute behind it.
        put("_manual_input_spec", None)

    def restore():
        for name, old in reversed(undo):
            object.__delattr__(layer, name) if old is MISSING else object.__setattr__(layer, name, old)

    return restore


_routing = recording.Shared(_route)


def _children(layer: Any) -> list:
    if hasattr(layer, "operations"):  # a functional graph: also operations that are no layers
        return [o for o in layer.operations if not isinstance(o, keras.layers.InputLayer)]
    if isinstance(layer, keras.Layer):
        # No public name lists the direct children of a layer that is not a model.
        return [
            c
            for c in layer._flatten_layers(include_self=False, recursive=False)
            if not isinstance(c, keras.layers.InputLayer)
        ]
    return []


def _is_activation_layer(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Activation)


def _needs_route(layer: Any) -> bool:
    """Whether a layer runs as we want only when routed: a graph of fixed size, an activation given by its name, or what
    runs again for the backward pass."""
    named = isinstance(getattr(layer, "activation", None), str)
    return named or hasattr(layer, "operations") or getattr(layer, "_remat_mode", None) is not None


def _activation_name(layer: Any) -> str | None:
    fused = getattr(layer, "activation", None)
    if isinstance(fused, str):
        return fused
    return getattr(fused, "__name__", type(fused).__name__) if callable(fused) else None


class KerasTaps:
    """Any Keras model: Functional, Sequential, nested, subclassed, or exposed."""

    black_box = False
    separator = "/"
    pooling = POOLING_LAYERS

    def __init__(self, model: keras.Model) -> None:
        self.signals: tuple | None = None
        self.target: Any = None
        self.inputs = Inputs()
        if isinstance(model, Exposed):
            self.signals, self.target, model = model.addresses["signals"], model.addresses["target"], model.exposed
        self.model = model
        self.channels_first = any(
            getattr(layer, "data_format", None) == "channels_first" for layer in self.paths().values()
        )

    def paths(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        seen = {id(self.model)}

        def walk(parent, prefix):
            for child in _children(parent):
                if id(child) in seen:
                    continue
                seen.add(id(child))
                path = prefix + child.name
                while path in found:
                    path += "_"
                found[path] = child
                walk(child, path + "/")

        walk(self.model, "")
        return found

    def layer(self, path: str) -> Any:
        return self.paths()[path]

    def children(self) -> list:
        return self.model.layers

    def expose(self, target: Any, signals: tuple | None) -> "Exposed":
        return Exposed(self.model, target, signals)

    def has_kernel(self, layer: Any) -> bool:
        return getattr(layer, "kernel", None) is not None

    def bias(self, path: str) -> Any:
        return keras_kinds.effective_bias(self.layer(path))

    def kernel(self, path: str) -> Any:
        kernel = getattr(self.layer(path), "kernel", None)
        if kernel is None:
            return None
        kernel = ops.convert_to_tensor(kernel)
        return ops.reshape(kernel, (-1, kernel.shape[-1])) if all(s == 1 for s in kernel.shape[:-2]) else None

    def role(self, call: Call) -> str | None:
        layer = self.layer(call.path)
        if _is_activation_layer(layer):
            return kinds.of_name(_activation_name(layer))
        found = None if getattr(layer, "quantization_mode", None) else kinds.of_layer(layer, "call")
        if found == "attention" and not attention.is_plain(layer):
            return None
        return found if call.leaf or found != "other" else None

    def is_affine(self, call: Call) -> bool:
        shapes = [shape for point, shape in call.signals if point.link == "input"]
        return len(shapes) == len(call.outputs) == 1 and keras_kinds.is_affine(
            functools.partial(self.apply, call.path), shapes[0]
        )

    def deviation(self, path: str) -> Deviation:
        return keras_kinds.deviation(self.layer(path))

    def weight(self, path: str, scale: Any = None) -> Any:
        layer = self.layer(path)
        if not isinstance(layer.kernel, keras.Variable):
            raise LayerError(f"The kernel of {path} is computed (by LoRA?), and a plain one is needed: merge it first.")
        kernel = ops.cast(ops.convert_to_tensor(layer.kernel), "float32")
        if scale is None:
            return kernel
        name = type(layer).__name__
        if "Depthwise" in name:
            return kernel * ops.reshape(scale, kernel.shape[-2:])
        return kernel * (scale[:, None] if "Transpose" in name else scale)

    def scale(self, path: str) -> Any:
        layer = self.layer(path)
        scale = 1 / ops.sqrt(ops.cast(layer.moving_variance, "float32") + layer.epsilon)
        return scale if layer.gamma is None else scale * layer.gamma

    def apply(self, path: str, x: Any, kernel: Any = None) -> Any:
        layer, seen = self.layer(path), []

        def see(_, value):
            seen.append(value)
            return value

        put = [] if kernel is None else [(layer.kernel, kernel)]
        if kernel is not None and isinstance(layer.bias, keras.Variable):
            put.append((layer.bias, ops.zeros(layer.bias.shape)))
        point = Point(path, link="linear")
        session = Session({id(layer): path}, see, frozenset([point]))
        with _routing([layer]), backend.read_only(tuple(put)):
            token = _session.set(session)
            try:
                output = layer.call(x)
            finally:
                _session.reset(token)
        return seen[0] if seen else output

    def variables(self) -> list:
        return self.model.variables

    def structure(self) -> tuple:
        """What the model is made of, as far as a compiled or traced run depends on it."""
        return tuple((path, id(layer), _activation_name(layer)) for path, layer in self.paths().items())

    def input_shape(self) -> tuple | None:
        return self.inputs.shape(self.model, OWN)

    def admit(self, path: tuple, value: Any) -> Any:
        return as_declared(self.model, path, value)

    def images(self, x: Any) -> Any:
        return ops.cast(ops.convert_to_tensor(x), "float32")

    def device(self) -> AbstractContextManager:
        return nullcontext()  # Keras places its models itself

    def scores(self, outputs: Any) -> Any:
        return outputs if ops.is_tensor(outputs) else tree.flatten(outputs)[0]

    def build(self, x: Any) -> None:
        """Create the weights of a model that was never called, from a first image."""
        if not all(getattr(layer, "built", True) for layer in (self.model, *self.paths().values())):
            args, kwargs = self._arguments(x[:1])
            self.model(*args, **kwargs, training=False)

    def _arguments(self, x: Any, see: Callable = lambda point, value: value) -> tuple[tuple, dict]:
        return self.inputs.arguments(self.model.call, self.inputs.around(see(INPUT, x), see), OWN)

    def run(self, x: Any, tap: Tap, points: frozenset[Point] | None) -> Any:
        paths = self.paths()
        owners = attention.owners(paths, points or ())
        chosen = paths if points is None else {*(p.path for p in points if p.path), *owners}
        session = Session({id(paths[path]): path for path in chosen}, tap, points, owners)
        routed = [layer for path, layer in paths.items() if path in chosen or _needs_route(layer)]
        graphs = [m for m in (self.model, getattr(self.model, "_functional", None)) if _needs_route(m)]
        layers = [self.model, *paths.values()]
        with _routing([*routed, *graphs]), precision.lowered(layers), backend.read_only():
            token = _session.set(session)
            try:
                args, kwargs = self._arguments(x, session.see)
                return self.model(*args, **kwargs, training=False)
            finally:
                _session.reset(token)

    def trace(self, shape: tuple, dtype: str, operations: bool = False) -> Trace:
        key = shape, dtype, self.inputs.kinds
        return _traces.get(self.model, self.structure(), key, lambda: sampled(self)._trace(shape, dtype))

    def _trace(self, shape: tuple, dtype: str) -> Trace:
        recorder, results = recording.Recorder(), []

        def run(x):
            outputs = self.run(x, recorder, None)
            leaves = tree.flatten(outputs)
            results.append((outputs, [(recorder.number(o), tuple(o.shape)) for o in leaves]))
            return leaves

        backend.trace(run, shape, dtype)
        outputs, numbered = results[-1]
        names = tuple(outputs) if isinstance(outputs, dict) else ()
        calls = recorder.calls(functools.partial(self._describe, self.paths(), len(shape)))
        return Trace(tuple(calls), tuple(n for n, _ in numbered), tuple(s for _, s in numbered), names, recorder.others)

    def attentions(self, shape: tuple, dtype: str) -> dict[Point, tuple]:
        key = shape, dtype, self.inputs.kinds, "attention"
        return _traces.get(self.model, self.structure(), key, lambda: sampled(self)._attentions(shape, dtype))

    def _attentions(self, shape: tuple, dtype: str) -> dict[Point, tuple]:
        points = attention.candidates(self.trace(shape, dtype), self.paths())
        found: dict[Point, tuple] = {}

        def run(x):
            self.run(x, lambda point, value: (found.update({point: tuple(value.shape)}), value)[1], frozenset(points))
            return x

        if points:
            backend.trace(run, shape, dtype)
        return found

    def _describe(self, paths: dict[str, Any], rank: int, call: Call, fused: bool) -> Call:
        layer = paths[call.path]
        function = _activation_name(layer)
        return replace(
            call,
            kind=str(function) if _is_activation_layer(layer) else type(layer).__name__,
            leaf=not _children(layer),
            activation=function if fused else None,
            has_bias=keras_kinds.has_bias(layer),
            has_kernel=self.has_kernel(layer),
            channels_first=self.channels_first and len(call.shape) == rank,
        )


class Exposed(keras.Model):
    """A model that returns [score, *signals] of another model: the model itself runs, and nothing of it is rebuilt.

    `target` and `signals` are addresses (see `find.resolve`), looked up when the model runs; without a target the score
    is what comes before the model's last softmax or sigmoid, and without signals there is one, the last spatial one."""

    def __init__(self, model: keras.Model, target: Any, signals: tuple | None) -> None:
        super().__init__(name=f"{model.name}_exposed")
        self.exposed, self.addresses = model, {"target": target, "signals": signals}
        self.built = True

    def call(self, x: Any) -> list:
        check_alone(x)
        taps = KerasTaps(self)
        taps.build(x)
        return find.exposed(taps, x, keep=lambda value: value)

    @property
    def layers(self) -> list:
        return self.exposed.layers

    @property
    def inputs(self) -> Any:
        return self.exposed.inputs

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        return self.exposed.get_layer(name=name, index=index)
