"""The part of a run that comes after a signal, on TensorFlow: the operations of the graph that use the signal."""

from collections.abc import Callable

import keras
import tensorflow as tf


def resumed(run: Callable, x, key) -> tuple:
    values: dict = {}
    seen: list = []

    def whole(x):
        def tap(at, value):
            if at != key:
                return value
            values[at] = value
            seen.append(tf.identity(value))
            return seen[0]

        return run(x, tap)

    program = tf.compat.v1.wrap_function(whole, [tf.TensorSpec(x.shape, x.dtype)])
    if not values:
        return None, {}, None
    kept = _kept(program, seen[0])
    first = program.prune(program.inputs[:1], [values[key], *kept])
    value, *known = first(x)
    last = program.prune([seen[0], *kept], program.outputs[0])

    def tail(signal):
        return last(signal, *known)

    return tail(value), {key: value}, tail


def _kept(program, signal) -> list:
    """The tensors that the operations after a signal use, and that do not depend on it."""
    outside = {id(tensor) for tensor in program.graph.internal_captures}
    after, waiting = {signal.op}, list(signal.consumers())
    used: dict = {}
    while waiting:
        operation = waiting.pop()
        if operation not in after:
            after.add(operation)
            used.update((id(tensor), tensor) for tensor in operation.inputs)
            waiting.extend(user for tensor in operation.outputs for user in tensor.consumers())
    return [t for t in used.values() if t.op not in after and t.op.type != "Const" and id(t) not in outside]


def mapped(function: Callable, numbers):
    function = tf.autograph.experimental.do_not_convert(function)
    return keras.ops.map(lambda row: tf.vectorized_map(function, row, fallback_to_while_loop=False), numbers)
