"""When a test runs: the three levels, by backend and by method.

A test without a mark, or marked `fast`, runs in `make test`; a `slow` one in `make test-all` only, a `very_slow` one by
hand only. The mark closest to a test counts: a parameter's before the function's, the function's before the file's.
PyTorch compiles nothing; on TensorFlow and JAX nearly all time goes into compiling, so that levels differ there."""

import itertools

import keras
import pytest

import keras_explainable as ke

BACKEND = keras.backend.backend()
ON_TORCH_CPU = BACKEND == "torch" and keras.ops.convert_to_tensor(0.0).device.type == "cpu"
fast, slow, very_slow = pytest.mark.fast, pytest.mark.slow, pytest.mark.very_slow

# The methods by which laws are tried in `make test` on PyTorch. All others come one level later.
REPRESENTATIVE = {
    "gradients",
    "smoothgrad",
    "full_gradients",
    "gradcam",
    "scorecam",
    "integrated_gradients",
    "lrp_epsilon_plus",
    "occlusion",
    "attention_rollout",
}


def passes(method):
    """What a method costs, roughly: each letter in its cost counts as 8."""
    cost = ke.registry.METHODS[method].cost
    return cost.passes(**dict.fromkeys(cost.letters, 8))


def cheapest(names):
    """One method of each family and, of those of it that repeat, one more."""
    found = {}
    for name in sorted(names, key=lambda name: (passes(name), name), reverse=True):
        record = ke.registry.METHODS[name]
        found[record.family, record.traits.repeats] = name
    return set(found.values())


# The methods by which they are tried in `make test-all` where each must be compiled; `make test` tries Grad-CAM there.
COMPILED = cheapest(REPRESENTATIVE)


def by_backend(torch, compiled):
    """One of two marks: on PyTorch, or where every test must be compiled."""
    return torch if BACKEND == "torch" else compiled


# For what says little about a backend: tried in `make test` on PyTorch, which compiles nothing, and elsewhere later.
slow_compiled = by_backend(fast, slow)
# For what does not depend on the backend: elsewhere by hand.
fast_on_torch = by_backend(fast, very_slow)
# For further witnesses of what `make test` tries on every backend, such as a method's twin on other kinds of model.
very_slow_compiled = by_backend(slow, very_slow)


def first_fast(first, *others):
    """Parameters of a test, such as kinds of model, of which the first is tried in `make test`."""
    return [pytest.param(first, marks=fast), *others]


def crossed(*axes, torch=fast):
    """All combinations of the values of several axes as parameters of a test; where each must be compiled, `make test-all`
    tries each value once, with one of the others, and the other combinations are run by hand."""
    once = {tuple(axis[i % len(axis)] for axis in map(list, axes)) for i in range(max(map(len, axes)))}
    marks = {True: by_backend(torch, slow), False: by_backend(torch, very_slow)}
    return [pytest.param(*values, marks=marks[values in once]) for values in itertools.product(*axes)]


def quick(method):
    """The mark of this method in a law that holds for every method."""
    if method in REPRESENTATIVE:
        return fast if method == "gradcam" else slow_compiled if method in COMPILED else fast_on_torch
    return very_slow_compiled


def every_method(names=None):
    """The methods as parameters of a test."""
    return [pytest.param(name, marks=quick(name)) for name in names or ke.registry.METHODS]
