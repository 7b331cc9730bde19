"""Several devices of TensorFlow: a model made under a distribution strategy runs on each with a share of the images."""

import functools
from collections.abc import Callable

import tensorflow as tf


def strategy(variables: list):
    """The distribution strategy under which a model was made, if it has several devices."""
    found = (getattr(v.value, "distribute_strategy", None) for v in variables)
    return next((s for s in found if s is not None and s.num_replicas_in_sync > 1), None)


def on_each(step: Callable, strategy, *args):
    """Run a step on every device of a strategy, with a share of the images each."""
    devices = strategy.num_replicas_in_sync

    def part(value, context):
        i, rows = context.replica_id_in_sync_group, value.shape[0]
        return value[i * rows // devices : (i + 1) * rows // devices]

    def divided(value):
        return strategy.experimental_distribute_values_from_function(functools.partial(part, value))

    results = strategy.run(step, [None if value is None else divided(value) for value in args])
    return tf.nest.map_structure(lambda value: strategy.gather(value, axis=0), results)
