"""Route the `call` and the fused activation of Keras layers through a tap, in a scope that only its own thread sees and
that restores everything when it ends."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from types import FunctionType
from typing import Any

import keras
from keras import ops

from keras_explainable.models import recording
from keras_explainable.models.contract import Tap
from keras_explainable.models.keras import attention
from keras_explainable.models.trace import Point

current: ContextVar["Session | None"] = ContextVar("session", default=None)
MISSING = object()


class Session(recording.Session):
    """One run, through which the layers' calls and fused activations are routed."""

    def __init__(
        self, paths: dict[int, str], tap: Tap, points: frozenset[Point] | None, owners: dict[str, str] | None = None
    ) -> None:
        super().__init__(paths, tap, points)
        self.owners = owners or {}  # by path of a softmax inside an attention layer: that layer

    def call(self, layer: Any, plain: Any, args: tuple, kwargs: dict) -> Any:
        path = self.paths[id(layer)]
        if path in self.owners:
            owner = self.owners[path]
            return self.see(Point(owner, self.counts[owner], "attention"), plain(*args, **kwargs))
        number = self.begin(path)
        args, kwargs = self.see_all(path, number, "input", (args, kwargs))
        self.see_again(path, number, functools.partial(alone, layer, plain), args, kwargs)
        shown = path in self.owners.values()
        output = attention.with_scores(plain, args, kwargs) if shown else plain(*args, **kwargs)
        output = self.see_all(path, number, "output", output)
        return output if self.points is None or shown else self.see_all(path, number, "attention", output)

    def activation(self, layer: Any, value: Any, fused: Callable) -> Any:
        path = self.paths[id(layer)]
        return fused(self.see(Point(path, self.counts[path], "linear"), value))


class Alone(Session):
    """A run of one layer alone, which records the last input and output of its activation."""

    def __init__(self, layer: Any) -> None:
        super().__init__({id(layer): ""}, lambda _, value: value, frozenset())
        self.begin("")
        self.last: tuple = None, None

    def activation(self, layer: Any, value: Any, fused: Callable) -> Any:
        self.last = value, fused(value)
        return self.last[1]


def alone(layer: Any, plain: Callable, *args: Any, **kwargs: Any) -> Any:
    """The output of a layer's call, before its fused activation if that comes last."""
    session = Alone(layer)
    token = current.set(session)
    try:
        output = plain(*args, **kwargs)
    finally:
        current.reset(token)
    before, after = session.last
    return before if before is not None and after is output else output


def _route(layer: Any) -> Callable[[], None]:
    """Route a layer's call and fused activation through the session of the thread that runs it. Returns a function that
    undoes this."""
    with ExitStack() as undo:  # undo what was done if a later change fails
        name = "quantized_call" if getattr(layer, "quantization_mode", None) else "call"
        _put(undo, layer, name, _watched(layer, getattr(layer, name)))
        if getattr(layer, "_remat_mode", None) is not None:
            # Rematerialisation would hide the layer's signals; no public name turns it off.
            _put(undo, layer, "_remat_mode", None)
        if isinstance(layer, keras.layers.Softmax):  # Keras sets it at the first call, which may be ours
            _put(undo, layer, "_parent_path", getattr(layer, "_parent_path", None))
        fused = getattr(layer, "activation", None)
        fused = keras.activations.get(fused) if isinstance(fused, str) else fused  # users may write 'linear'
        # An RNN's activation is its cells'.
        if callable(fused) and not isinstance(layer, keras.layers.Activation | keras.layers.RNN):
            _put(undo, layer, "activation", _watched_activation(layer, fused))
        if hasattr(layer, "operations"):
            # A model built for one image size can run at others if its layers can. The public setter of `input_spec`
            # could not be undone, so its private attribute is set.
            _put(undo, layer, "_manual_input_spec", None)
            # A cast to an integer input would end the gradient; no public name turns the cast off.
            _put(undo, layer, "_convert_inputs_to_tensors", _uncast(layer))
        done = undo.pop_all()
    return done.close


def _put(undo: ExitStack, layer: Any, name: str, value: Any) -> None:
    """Set an attribute without Keras's attribute tracking."""
    old = layer.__dict__.get(name, MISSING)
    if isinstance(value, FunctionType):
        value.instead_of = old  # type: ignore[attr-defined]
    object.__setattr__(layer, name, value)
    undo.callback(*((object.__delattr__, layer, name) if old is MISSING else (object.__setattr__, layer, name, old)))


def attributes(layer: Any) -> dict[str, Any]:
    """The attributes of a layer as its user left them, even during a run in any thread."""
    found = {k: getattr(v, "instead_of", v) if isinstance(v, FunctionType) else v for k, v in [*vars(layer).items()]}
    return {name: value for name, value in found.items() if value is not MISSING}


def activation(layer: Any) -> Any:
    """The user's fused activation: a function, its name, or None."""
    own = attributes(layer)
    return own["activation"] if "activation" in own else getattr(layer, "activation", None)


def _uncast(graph: Any) -> Callable:
    plain = graph._convert_inputs_to_tensors

    def convert(values):
        cast = plain(values)
        if current.get() is None:
            return cast
        kept = [ops.is_tensor(v) and "float" in keras.backend.standardize_dtype(v.dtype) for v in values]
        whole = ["int" in keras.backend.standardize_dtype(v.dtype) if ops.is_tensor(v) else False for v in cast]
        return [v if k and w else c for v, c, k, w in zip(values, cast, kept, whole, strict=True)]

    return convert


def is_stateful(layer: Any) -> bool:
    """Whether a recurrent layer continues from the state that its last batch left."""
    return isinstance(layer, keras.layers.RNN) and bool(layer.stateful)


def _from_states(layer: Any) -> Callable:
    """The `call` of a stateful layer for a batch of any size: row i continues from the current state of row i mod B."""

    def call(sequences, initial_state=None, **kwargs):
        alone = object.__new__(type(layer))
        alone.__dict__.update(layer.__dict__, stateful=False)
        rows = ops.arange(ops.shape(sequences)[0])
        if initial_state is None and layer.states is not None:
            initial_state = keras.tree.map_structure(
                lambda state: ops.take(ops.convert_to_tensor(state), rows % state.shape[0], axis=0), layer.states
            )
        return type(layer).call(alone, sequences, initial_state=initial_state, **kwargs)

    return call


def _watched(layer: Any, plain: Any) -> Callable:
    plain = getattr(plain, "python_function", plain)  # a compiled `call` would hide its signals
    ours = _from_states(layer) if is_stateful(layer) else plain

    @functools.wraps(plain)
    def call(*args, **kwargs):
        session = current.get()
        if session is None or id(layer) not in session.paths:
            return plain(*args, **kwargs) if session is None else ours(*args, **kwargs)
        return session.call(layer, ours, args, kwargs)

    return call


def _watched_activation(layer: Any, fused: Callable) -> Callable:
    @functools.wraps(fused)
    def activation(x, *args, **kwargs):
        session = current.get()
        if session is None or session.paths.get(id(layer)) not in session.counts:
            return fused(x, *args, **kwargs)
        return session.activation(layer, x, lambda value: fused(value, *args, **kwargs))

    return activation


routed = recording.Shared(_route)


def watch(operation: Any) -> None:
    """Route an operation of our own graph, permanently. Its weights among the inputs are seen as well."""
    plain = operation.call

    def call(*args, **kwargs):
        args, kwargs = recording.each((args, kwargs), ops.convert_to_tensor, lambda v: isinstance(v, keras.Variable))
        session = current.get()
        return plain(*args, **kwargs) if session is None else session.call(operation, plain, args, kwargs)

    operation.call = call


def is_activation_layer(layer: Any) -> bool:
    """Whether a layer is only an activation."""
    return isinstance(layer, keras.layers.Activation)


def needs_route(layer: Any) -> bool:
    """Whether a layer must be routed to run as needed: a graph of fixed size, an activation given by name, a stateful
    RNN, or rematerialisation."""
    named = isinstance(getattr(layer, "activation", None), str)
    named = named or is_stateful(layer)
    return named or hasattr(layer, "operations") or getattr(layer, "_remat_mode", None) is not None


def activation_name(layer: Any) -> str | None:
    """The name of a layer's fused activation."""
    fused = activation(layer)
    if isinstance(fused, str):
        return fused
    return getattr(fused, "__name__", type(fused).__name__) if callable(fused) else None
