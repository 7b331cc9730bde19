"""The adapter of Keras models. While the user's model runs, the `call` (and the fused activation) of chosen layers is
routed through a tap (see `routing`)."""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import keras
from keras import ops

from keras_explainable import backend
from keras_explainable.models import addresses, precision, recording
from keras_explainable.models.contract import Parameter, Tap
from keras_explainable.models.inputs import Inputs, as_declared, check_alone, sampled
from keras_explainable.models.keras import attention, layer_math, routing, unfolding
from keras_explainable.models.keras.layers import KerasLayers
from keras_explainable.models.keras.parameters import parameters
from keras_explainable.models.keras.structure import Structure, children
from keras_explainable.models.structures import leaves
from keras_explainable.models.trace import IMAGES, INPUT, Call, Point, Trace

_traces = recording.Traces()
OWN = ("training", "mask")  # parameters of a `call` that are not inputs
POOLING_LAYERS = (
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
)


class KerasAdapter:
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
        self.made = Structure(model)  # shared by copies of the adapter
        self.layers = KerasLayers(self.made)
        # Classes of the operations outside of layers, by path, as far as they have been seen.
        self.operations: dict[str, str] = {}

    @functools.cached_property
    def channels_first(self) -> bool:
        return any(getattr(layer, "data_format", None) == "channels_first" for layer in self.paths().values())

    def paths(self) -> dict[str, Any]:
        return self.made.paths()

    def layer(self, path: str) -> Any:
        return self.paths()[path]

    def children(self) -> list:
        return self.model.layers

    def expose(self, target: Any, signals: tuple | None) -> "Exposed":
        return Exposed(self.model, target, signals)

    def variables(self) -> list:
        return self.model.variables

    def weights(self) -> list:
        return self.model.weights

    def parameters(self) -> list[Parameter]:
        return parameters({"": self.model, **self.paths()})

    @contextmanager
    def replacing(self, model: Any) -> Iterator[tuple[Any, Callable]]:
        with ExitStack() as stack:

            def put(pairs: list) -> None:
                stack.close()
                values = tuple((v, ops.convert_to_tensor(value, v.dtype)) for v, value in pairs)
                stack.enter_context(backend.read_only(values))

            yield model, put

    def forget(self) -> None:
        _traces.forget(self.model)

    def structure(self) -> tuple:
        return self.made.value()

    def input_shape(self) -> tuple | None:
        return self.inputs.shape(self.model, OWN)

    def admit(self, path: tuple, value: Any) -> Any:
        return as_declared(self.model, path, value)

    def images(self, x: Any) -> Any:
        return ops.cast(ops.convert_to_tensor(x), "float32")

    def check_integers(self, images: Any) -> None:
        pass

    def own_type(self, images: Any) -> str | None:
        return None

    def device(self) -> AbstractContextManager:
        return nullcontext()  # Keras places its models itself

    def scores(self, outputs: Any) -> Any:
        return self._tensors(outputs)[0]

    def _tensors(self, outputs: Any) -> list:
        """The tensors that the model returned, in the order that it declares."""
        return [value for _, value in leaves(self._declared(outputs))]

    def _declared(self, outputs: Any) -> Any:
        """A dictionary of outputs in the order of the model's own: some backends sort it by name."""
        known = getattr(self.model, "output", None) if hasattr(self.model, "operations") else None
        same = isinstance(outputs, dict) and isinstance(known, dict) and outputs.keys() == known.keys()
        return {name: outputs[name] for name in known} if same else outputs  # type: ignore[union-attr]

    def build(self, x: Any) -> None:
        """Create the weights of a model that was never called, from a first image."""
        if not all(getattr(layer, "built", True) for layer in (self.model, *self.paths().values())):
            args, kwargs = self._arguments(x[:1])
            self.model(*args, **kwargs, training=False)
            self.made.reset()  # building may have created layers
            self.__dict__.pop("channels_first", None)

    def _arguments(self, x: Any, see: Callable = lambda point, value: value) -> tuple[tuple, dict]:
        return self.inputs.arguments(self.model.call, self.inputs.around(see(INPUT, x), see), OWN)

    def run(
        self,
        x: Any,
        tap: Tap,
        points: frozenset[Point] | None,
        operations: bool = False,
        strict: bool = False,
        rules: bool = False,
    ) -> Any:
        paths = self.paths()
        operations = operations or any(p.path and p.path not in paths for p in points or ())
        owners = attention.owners(paths, points or ())
        chosen = paths if points is None else {*(p.path for p in points if p.path in paths), *owners}
        session = routing.Session({id(paths[path]): path for path in chosen}, tap, points, owners)
        routed = [layer for path, layer in paths.items() if path in chosen or routing.needs_route(layer)]
        graphs = [m for m in (self.model, getattr(self.model, "_functional", None)) if routing.needs_route(m)]
        layers = [self.model, *paths.values()]
        with routing.routed([*routed, *graphs]), precision.lowered(layers), backend.read_only():
            run = self._unfolded(x, session) if operations else functools.partial(self.model, training=False)
            token = routing.current.set(session)
            try:
                args, kwargs = self._arguments(x, session.see)
                return run(*args, **kwargs)
            finally:
                routing.current.reset(token)

    def _unfolded(self, x: Any, session: routing.Session) -> Callable:
        """The model as a function whose operations outside of layers are routed through the session as well."""

        def begin(path, number):  # a graph may run in another order
            session.counts[path] = number - 1

        run, found = unfolding.unfold(self.model, self.paths(), self._arguments(x), begin, session.see_all)
        for path, operations in found.items():
            self.operations[path] = type(operations[0]).__name__
            for operation in operations:
                session.paths[id(operation)] = path
                routing.watch(operation)
        return run

    def trace(self, shape: tuple, operations: bool = False) -> Trace:
        operations = operations and any(map(unfolding.is_own, (self.model, *self.paths().values())))
        key = shape, self.inputs.kinds, operations
        with precision.computing_in(None):  # what is found is kept, and is the same for all precisions
            return _traces.get(self.model, self.structure(), key, lambda: sampled(self)._trace(shape, operations))

    def _trace(self, shape: tuple, operations: bool) -> Trace:
        whole = operations or not any(map(unfolding.is_own, (self.model, *self.paths().values())))
        recorder, results = recording.Recorder(whole=whole), []

        def run(x):
            outputs = self.run(x, recorder, None, operations)
            found = list(leaves(self._declared(outputs)))
            results.append((outputs, [(path, recorder.number(o), tuple(o.shape)) for path, o in found]))
            return [output for _, output in found]

        before = self.made.settings()
        try:
            backend.trace(run, shape, "float32")
        except unfolding.FoldedError:
            return self.trace(shape)
        finally:
            self.made.ran(before)
        outputs, heads = results[-1]
        names = tuple(self._declared(outputs)) if isinstance(outputs, dict) else ()
        calls = tuple(recorder.calls(functools.partial(self._describe, self.paths(), len(shape))))
        calls = calls if self.inputs.layout is None else tuple(self.inputs.layout.marked(calls, shape[0]))
        constants = recorder.others
        made = {IMAGES}.union(*(call.outputs for call in calls))  # other inputs of operations are constants
        constants |= {value for call in calls if call.operation for value in call.inputs} - made
        values, shapes = tuple(n for _, n, _ in heads), tuple(s for _, _, s in heads)
        return Trace(calls, values, shapes, names, tuple(heads), constants, fed=recorder.others)

    def attentions(self, shape: tuple) -> dict[Point, tuple]:
        key = shape, self.inputs.kinds, "attention"
        return _traces.get(self.model, self.structure(), key, lambda: sampled(self)._attentions(shape))

    def _attentions(self, shape: tuple) -> dict[Point, tuple]:
        points = attention.candidates(self.trace(shape), self.paths())
        found: dict[Point, tuple] = {}

        def run(x):
            self.run(x, lambda point, value: (found.update({point: tuple(value.shape)}), value)[1], frozenset(points))
            return x

        if points:
            backend.trace(run, shape, "float32")
        return found

    def _describe(self, paths: dict[str, Any], rank: int, call: Call, fused: bool) -> Call:
        first = self.channels_first and len(call.shape) == rank
        if call.path in self.operations:
            return replace(call, kind=self.operations[call.path], operation=True, channels_first=first)
        layer = paths[call.path]
        function = routing.activation_name(layer)
        return replace(
            call,
            kind=str(function) if routing.is_activation_layer(layer) else type(layer).__name__,
            leaf=not children(layer),
            activation=function if fused else None,
            has_bias=layer_math.has_bias(layer),
            has_kernel=layer_math.has_kernel(layer),
            channels_first=first,
            of_heads=attention.is_inside(paths, call.path),
        )


class Exposed(keras.Model):
    """A model that returns [score, *signals] of another model. That model itself runs; nothing is rebuilt.

    `target` and `signals` are addresses (see `addresses.resolve`), looked up when the model runs. Without a target the
    score is taken before the model's last softmax or sigmoid. Without signals there is one, the last spatial one."""

    def __init__(self, model: keras.Model, target: Any, signals: tuple | None) -> None:
        super().__init__(name=f"{model.name}_exposed")
        self.exposed, self.addresses = model, {"target": target, "signals": signals}
        self.built = True

    def call(self, x: Any) -> list:
        check_alone(x)
        adapter = KerasAdapter(self)
        adapter.build(x)
        return addresses.exposed(adapter, x, keep=lambda value: value)

    @property
    def layers(self) -> list:
        return self.exposed.layers

    @property
    def inputs(self) -> Any:
        return self.exposed.inputs

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        return self.exposed.get_layer(name=name, index=index)
