"""The backend for TensorFlow: a tape that watches the signals and nothing else."""

import functools
from collections.abc import Callable, Container
from contextvars import ContextVar

import numpy as np
import tensorflow as tf

from keras_explainable.backend import replicas_tensorflow as replicas
from keras_explainable.backend.read_only import overridden, read_only
from keras_explainable.runtime.interruptible import interruptible, run_in_thread

# More than UNROLLED columns become a loop: a graph of 1000 backward passes would take minutes to build. If backward
# passes are short, a graph of at most OPERATIONS operations is quick to build, and runs faster than a loop.
UNROLLED, OPERATIONS = 8, 4000

# Whether the program that is being built is ours (not XLA's or a user's), and may therefore call NumPy.
_plain: ContextVar[bool] = ContextVar("plain", default=False)

# TensorFlow keeps every gradient that a program defines forever, and with it the program and the model. No public API
# releases one, so the entries of our own programs are replaced in the registry as soon as they are built.
_GRADIENTS = tf.RegisterGradient.__init__.__globals__["gradient_registry"]._registry
_defined: ContextVar[list | None] = ContextVar("defined", default=None)


def compile(step: Callable, variables: Callable, jit_compile: bool | None, spread: bool) -> Callable:
    # XLA is off unless asked for: on CPUs it was not faster for gradients. Variables are captured by reference.
    # AutoGraph is off, as in `model.predict`: it is slow and rewrites exceptions.
    # A partial has no code object. TensorFlow counts retracings by code object, and would count many methods as one.
    function = functools.partial(tf.function, jit_compile=bool(jit_compile), autograph=False)
    step = functools.partial(_forgetting, step if jit_compile else functools.partial(_plainly, step))
    alone, shared = function(functools.partial(step)), function(functools.partial(replicas.on_each, step))
    given = function(functools.partial(_with_weights, step, variables))

    def run(images, *args):
        # A program keeps the variables that it captured. Values of an enclosing scope are arguments of another one.
        if overridden(variables()):
            return called(given, [tf.convert_to_tensor(v.value) for v in variables()], images, *args)
        strategy = replicas.strategy(variables()) if spread else None
        if strategy is None or len(images) < strategy.num_replicas_in_sync:
            return called(alone, images, *args)
        return shared(strategy, images, *args)

    def called(program, *args):
        concrete = program.get_concrete_function(*args) if interruptible.get() else None
        return run_in_thread(concrete, *args) if concrete else program(*args)

    return run


def _with_weights(step: Callable, variables: Callable, values: list, *args):
    with read_only(tuple(zip(variables(), values, strict=True))):
        return step(*args)


def _plainly(step: Callable, *args):
    token = _plain.set(True)
    try:
        return step(*args)
    finally:
        _plain.reset(token)


def _forgetting(step: Callable, *args):
    """Run a step that builds a program. The gradients that it defines are released afterwards."""
    token = _defined.set([])
    try:
        return step(*args)
    finally:
        for name in _defined.get() or ():
            _GRADIENTS[name]["type"] = _no_gradient
        _defined.reset(token)


def _no_gradient(operation, *grads):
    return [None] * len(operation.inputs)


def jacobian(run: Callable, x, at: list, reduce: Callable, keep: Container) -> tuple:
    values: dict = {}
    beside: dict = {}
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:

        def tap(key, value):
            if key not in at and key in keep:
                beside[key] = value
            if key not in at or not value.dtype.is_floating:
                return value
            values[key] = tf.identity(value)
            tape.watch(values[key])
            return values[key]

        scores = run(x, tap)
    keys: list = list(values)
    reached: set = set()

    def column(k):
        cotangent = tf.broadcast_to(tf.one_hot(k, tf.shape(scores)[-1], dtype=scores.dtype), tf.shape(scores))
        sources = [values[key] for key in keys]
        grads = tape.gradient(scores, sources, output_gradients=cotangent)
        reached.update(key for key, g in zip(keys, grads, strict=True) if g is not None)
        grads = [tf.zeros_like(value) if g is None else g for g, value in zip(grads, sources, strict=True)]
        return [reduce(key, tf.cast(g, tf.float32), values[key]) for key, g in zip(keys, grads, strict=True)]

    units, before = scores.shape[-1], _operations()
    first = column(0)
    if units is not None and (units <= UNROLLED or units * (_operations() - before) <= OPERATIONS):
        rest = map(column, range(1, units))
        columns = tf.nest.map_structure(lambda *parts: tf.stack(parts, axis=1), first, *rest)
    else:
        kinds = tf.nest.map_structure(lambda _: tf.float32, first)
        stacked = tf.map_fn(column, tf.range(tf.shape(scores)[-1]), fn_output_signature=kinds, parallel_iterations=1)
        columns = tf.nest.map_structure(functools.partial(tf.einsum, "kb...->bk..."), stacked)
    kept = beside | {key: value for key, value in values.items() if key in keep}
    return scores, kept, dict(zip(keys, columns, strict=True)), reached


def _operations() -> int:
    """The number of operations in the graph that is being built."""
    return 0 if tf.executing_eagerly() else len(tf.compat.v1.get_default_graph().get_operations())


def evaluate(run: Callable, x) -> tuple:
    values: dict = {}
    scores = run(x, lambda key, value: values.setdefault(key, value))
    return scores, values


def reroute(inputs: tuple, output, rule: Callable, keeps: tuple):
    @tf.custom_gradient
    def through(output, *inputs):
        def backward(g):
            return tf.zeros_like(g), *rule(
                g, inputs if "inputs" in keeps else None, output if "output" in keeps else None
            )

        return tf.identity(output), backward

    seen, defined = through(tf.stop_gradient(output), *inputs), _defined.get()
    if defined is not None and not tf.executing_eagerly():
        defined.append(seen.op.get_attr("_gradient_op_type").decode())
    return seen


def stand_in(value):
    return value


def vjp(function: Callable, x) -> tuple:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        y = function(x)
    return y, lambda g: tape.gradient(y, x, output_gradients=g, unconnected_gradients="zero")


def trace(run: Callable, shape: tuple, dtype: str) -> None:
    with tf.init_scope():
        tf.function(run, autograph=False).get_concrete_function(tf.TensorSpec(shape, dtype))


def by_image(function: Callable, values):
    return function(values)


def order_statistics(values) -> Callable:
    if _plain.get() and not tf.config.get_visible_devices("GPU"):  # NumPy takes a tenth of TensorFlow's time on CPUs
        ordered = tf.numpy_function(functools.partial(np.sort, axis=-1), [values], values.dtype, stateful=False)
        ordered = tf.ensure_shape(ordered, values.shape)
    else:
        ordered = tf.sort(values, axis=-1)
    return lambda rank: tf.gather(ordered, rank, axis=-1, batch_dims=1)


def at_once(x, most: int) -> int:
    return most


def is_traced(value) -> bool:
    return not tf.executing_eagerly()


def to_host(value) -> np.ndarray:
    return np.asarray(value)


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, tf.errors.ResourceExhaustedError)


def missing(error: Exception) -> str | None:
    if not (isinstance(error, tf.errors.OpError) and "NHWC" in str(error)):
        return None
    return (
        "TensorFlow has channels-first convolutions and pooling on CPUs only with oneDNN, which is off here: set "
        "TF_ENABLE_ONEDNN_OPTS=1 in the environment before TensorFlow is imported, or build the model channels-last."
    )
