"""The backend for JAX. A signal's gradient is the gradient with respect to a zero offset that is added to the
signal."""

import functools
from collections.abc import Callable, Container

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_explainable.backend.read_only import read_only
from keras_explainable.runtime.interruptible import wait_for

UNITS_AT_ONCE = 16  # memory grows with their number; the loop used for more units is slow on CPUs


def compile(step: Callable, variables: Callable, jit_compile: bool | None, spread: bool) -> Callable:
    # The weights are arguments: later training is seen, and the program holds no copy of them.
    @functools.partial(jax.jit, compiler_options=_compiler_options())
    def compiled(values, *args):
        with read_only(tuple(zip(variables(), values, strict=True))):
            return step(*args)

    return lambda images, *args: compiled([v.value for v in variables()], _spread(images), *args)


OPTIONS = {
    # Since jaxlib 0.10.2 these fusions compute products of signals and images, summed over channels, incorrectly
    # (https://github.com/jax-ml/jax/issues/39103).
    "xla_cpu_experimental_ynn_fusion_type": "",
    # On two cores, parts of a program that run at the same time may deadlock, such as the decompositions of `eigencam`
    # and `eigengradcam`: each holds a thread and waits for another one. Gradients take 0.9 of the time without it.
    "xla_cpu_enable_concurrency_optimized_scheduler": False,
}


@functools.cache
def _compiler_options() -> dict | None:
    """The options for XLA on CPUs: those of `OPTIONS` that it knows. None if it knows none of them."""
    known = {}
    for name, value in OPTIONS.items():
        try:
            jax.jit(jnp.zeros_like, compiler_options={name: value})(0.0)
        except jax.errors.JaxRuntimeError:
            continue
        known[name] = value
    return known or None


def _spread(images):
    """Distribute images over the devices of a `keras.distribution`, if they divide evenly. The program computes the
    same values wherever the parts of an array are."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return images
    mesh = distribution.device_mesh
    devices = dict(zip(mesh.axis_names, mesh.shape, strict=True))[distribution.batch_dim_name]
    if len(images) % devices:
        return images
    return keras.distribution.distribute_tensor(images, distribution.get_data_layout(images.shape))


def _perturb(value, offset, arrive: Callable):
    """Return value + offset for an offset of zero, without computing the sum. `arrive()` is called if a gradient
    arrives here."""

    @jax.custom_vjp
    def perturbed(value, offset):
        return value

    def backward(_, cotangent):
        arrive()
        return cotangent, cotangent

    perturbed.defvjp(lambda value, offset: (value, None), backward)
    return perturbed(value, offset)


def jacobian(run: Callable, x, at: list, reduce: Callable, keep: Container) -> tuple:
    offsets: dict = {}
    reached: set = set()

    def probe(key, value):
        if key in at and jnp.issubdtype(value.dtype, jnp.floating):
            offsets[key] = (value.shape, value.dtype)
        return value

    jax.eval_shape(lambda x: run(x, probe), x)

    def forward(offsets):
        values = {}

        def tap(key, value):
            if key not in at and key in keep:
                values[key] = value
            if key not in offsets:
                return value
            values[key] = _perturb(value, offsets[key], functools.partial(reached.add, key))
            return values[key]

        return run(x, tap), values

    zeros = {key: jnp.zeros(*kind) for key, kind in offsets.items()}
    scores, pull, values = jax.vjp(forward, zeros, has_aux=True)

    def column(cotangent):
        (grads,) = pull(jnp.broadcast_to(cotangent, scores.shape))
        return {key: reduce(key, g.astype("float32"), values[key]) for key, g in grads.items()}

    basis = jnp.eye(scores.shape[-1], dtype=scores.dtype)
    if len(basis) <= UNITS_AT_ONCE:
        stacked = jax.vmap(column)(basis)
    else:
        stacked = jax.lax.map(column, basis, batch_size=UNITS_AT_ONCE)
    columns = jax.tree.map(lambda g: jnp.moveaxis(g, 0, 1), stacked)
    return scores, {key: value for key, value in values.items() if key in keep}, columns, reached


def evaluate(run: Callable, x) -> tuple:
    values: dict = {}
    scores = run(x, lambda key, value: values.setdefault(key, value))
    return scores, values


def reroute(inputs: tuple, output, rule: Callable, keeps: tuple):
    @jax.custom_vjp
    def through(inputs, output):
        return output

    def backward(kept, g):
        return tuple(rule(g, *kept)), jnp.zeros_like(g)

    def forward(inputs, output):
        return output, (inputs if "inputs" in keeps else None, output if "output" in keeps else None)

    through.defvjp(forward, backward)
    return through(tuple(inputs), jax.lax.stop_gradient(output))


def stand_in(value):
    return value


def vjp(function: Callable, x) -> tuple:
    y, pull = jax.vjp(function, x)
    return y, lambda g: pull(g)[0]


def trace(run: Callable, shape: tuple, dtype: str) -> None:
    jax.eval_shape(run, jax.ShapeDtypeStruct(shape, dtype))


def by_image(function: Callable, values):
    return function(values)


def order_statistics(values) -> Callable:
    # Search bit by bit: on CPUs one XLA sort takes as long as 25 searches. Non-negative floats order as their bits do.
    bits = jax.lax.bitcast_convert_type(values, "int32")

    def at(rank):
        def settle(i, found):
            larger = found | (1 << (30 - i))
            before = jnp.sum(bits < larger, axis=-1, keepdims=True, dtype="int32")
            return jnp.where(before <= rank, larger, found)

        found = jax.lax.fori_loop(0, 31, settle, jnp.zeros_like(bits[..., :1]))
        return jax.lax.bitcast_convert_type(found, values.dtype)

    return at


def at_once(x, most: int) -> int:
    return most


def is_traced(value) -> bool:
    return isinstance(value, jax.core.Tracer)


def to_host(value) -> np.ndarray:
    if isinstance(value, jax.Array) and not is_traced(value):
        wait_for(value)
    return np.asarray(value)


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def missing(error: Exception) -> str | None:
    return None
