"""Each function is compiled once, for what it was compiled for, and is forgotten with its model."""

import gc
import weakref
from dataclasses import dataclass

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.runtime.compile_cache import Program, compiled
from support import keras_models
from support.calls import few, gradcam, raw
from support.compare import close
from support.keras_models import SHAPE, counted, on
from support.selection import BACKEND, slow_compiled

N = 5


model, x = on("nested_sequential", N)


def test_a_second_call_compiles_nothing(x):
    model, calls = counted()
    runs = []
    for _ in range(3):
        gradcam(model, x, 1, batch_size=2)  # the last batch is smaller
        runs.append(len(calls))
    if BACKEND == "torch":
        assert runs[2] - runs[1] == runs[1] - runs[0] == 3  # a call for each batch, and none besides
    else:
        assert runs[2] == runs[1] == runs[0] < 12


def test_repetitions_and_passes_compile_nothing_twice(x):
    model, calls = counted()
    smoothed = ke.methods.meta.smooth(ke.methods.gradient.gradients, repetitions=3, noise=0.1)
    flipped = ke.methods.meta.tta(ke.methods.cams.gradcam, scales=[1.5], hflip=True)
    for method in (smoothed, flipped, "smoothgrad"):
        runs = [len(calls)]
        for _ in range(3):
            raw(method, model, x, 1, **({"repetitions": 3} if method == "smoothgrad" else {}))
            runs.append(len(calls))
        if BACKEND == "torch":
            assert runs[3] - runs[2] == (4 if method is flipped else 3)
        else:
            assert runs[3] == runs[2] == runs[1]


@pytest.mark.skipif(BACKEND == "torch", reason="runs as it is")
def test_the_cache_says_what_it_holds(x):
    ke.clear_cache()
    gc.collect()
    model, _ = counted()
    gradcam(model, x, 1)
    first = ke.cache_info()
    assert (first.misses, first.models, first.functions) == (1, 1, 1)
    gradcam(model, x, 2)
    assert ke.cache_info() == first._replace(hits=first.hits + 1)
    ke.gradients(model, x, 1, verbose=0)
    assert ke.cache_info().functions == 2
    ke.clear_cache()
    assert ke.cache_info() == (0, 0, 0, 0)


@slow_compiled
def test_no_parameter_reuses_another_ones_function(model, x):
    """Each in the order in which a function kept by name alone would answer for the next."""
    calls = [
        ("gradients", {}),
        ("gradients", {"reduce": "max"}),
        ("gradients", {"reduce": None}),
        ("gradients", {"score": lambda p: p * 2}),
        ("gradients", {"score": lambda p: p * 3}),
        ("gradients", {"postprocessing": ke.filters.normalize}),
        ("gradients", {"postprocessing": lambda maps: maps + 1}),
        ("gradients", {"resizing": (5, 5)}),
        ("gradients", {"resizing": True}),
        ("gradcam", {}),
        ("gradcam", {"layer": "conv1"}),
        ("gradcampp", {}),
        ("scorecam", {"baseline": 0.0}),
        ("scorecam", {"baseline": 2.0}),
        ("full_gradients", {"aggregation": "sum"}),
        ("full_gradients", {"aggregation": "mean"}),
        ("full_gradients", {"biases": [np.ones(1, "float32")] * 3}),
        ("full_gradients", {"biases": [np.zeros(1, "float32")] * 3}),
        ("smoothgrad", {"repetitions": 2}),
        ("smoothgrad", {"repetitions": 2, "seed": 1}),
        ("smoothgrad", {"repetitions": 2, "noise": 0.5}),
    ]
    kept = [raw(method, model, x[:2], 1, **params).maps for method, params in calls]
    for i, (method, params) in enumerate(calls):
        ke.clear_cache()
        fresh = raw(method, model, x[:2], 1, **params).maps
        close([kept[i]], [fresh])
        same = [j for j in range(i) if kept[j].shape == kept[i].shape and np.allclose(kept[j], kept[i], rtol=1e-4)]
        assert all(calls[j][1] == {} for j in same), (calls[i], [calls[j] for j in same])


def test_a_change_of_the_model_is_seen(x):
    model = keras_models.build("fused")
    before = ke.gradients(model, x, 1, verbose=0)
    model.get_layer("last").activation = keras.activations.tanh
    after = ke.gradients(model, x, 1, verbose=0)
    assert abs(before.scores - after.scores).max() > 0.01
    close(after, ke.gradients(model, x, 1, verbose=0, run_eagerly=True), 1e-4)


@slow_compiled
@pytest.mark.usefixtures("only_what_is_new")
def test_the_cache_keeps_no_model_alive(x):
    ke.clear_cache()
    largest, alive = 0, []
    for i in range(8):
        model = keras.Sequential(
            [keras.Input(SHAPE), L.Conv2D(2, 3, name="conv"), L.GlobalAveragePooling2D(), L.Dense(2)]
        )
        exposed = ke.inspection.expose(model, "conv") if i % 2 else model
        gradcam(exposed, x[:1], 1, layer=model.layers[0] if i % 4 == 0 else None)
        alive.append(weakref.ref(model))
        del model, exposed
        gc.collect()
        largest = max(largest, ke.cache_info().models)
    assert largest <= 2
    assert sum(ref() is not None for ref in alive) <= 2
    assert ke.cache_info().functions <= 2


@dataclass(frozen=True)
class Scaled(Program):
    factor: float
    params: dict

    def __call__(self, model, x):
        return x * self.factor


@pytest.mark.skipif(BACKEND == "torch", reason="runs as it is")
def test_a_program_is_known_by_its_fields(model, x):
    ke.clear_cache()
    x, weights = ops.convert_to_tensor(x[:1]), np.ones(2)
    for program in (Scaled(2.0, {"a": weights}), Scaled(3.0, {"a": weights}), Scaled(2.0, {"a": np.ones(2)})):
        misses = ke.cache_info().misses
        close([ops.convert_to_numpy(compiled(program, model)(x))], [program.factor * ops.convert_to_numpy(x)])
        assert ke.cache_info().misses == misses + 1
        compiled(type(program)(program.factor, dict(program.params)), model)
        assert ke.cache_info().misses == misses + 1


def test_eager_runs_call_the_model_and_compile_nothing(x):
    model, calls = counted()
    compiled = gradcam(model, x, 1)
    info, before = ke.cache_info(), len(calls)
    eager = gradcam(model, x, 1, run_eagerly=True)
    gradcam(model, x, 1, run_eagerly=True)
    assert len(calls) - before >= 2
    assert ke.cache_info() == info
    close(eager, compiled, 1e-4)
    model.compile(run_eagerly=True)  # what the user set on the model counts as well
    before = len(calls)
    gradcam(model, x, 1)
    gradcam(model, x, 1)
    assert len(calls) - before >= 2
    assert ke.cache_info() == info


@slow_compiled
@pytest.mark.parametrize("method", ["gradcam", "gradients", "full_gradients", "smoothgrad"])
@pytest.mark.skipif(BACKEND == "torch", reason="has no XLA")
def test_xla_gives_the_same(method, x):
    model = keras_models.build("functional")
    params = {"repetitions": 2} if method == "smoothgrad" else {}
    close(raw(method, model, x, [1] * N, jit_compile=True, **params), raw(method, model, x, [1] * N, **params), 1e-4)


@slow_compiled
@pytest.mark.parametrize(("one", "other"), [("integrated_gradients", "occlusion"), ("occlusion", "deep_shap")])
def test_methods_that_repeat_share_no_compiled_function(one, other):
    model, x = keras_models.build("channels_first"), keras_models.images("channels_first")
    alone = ke.explain(other, model, x, 1, verbose=0, **few(other))
    model = keras_models.build("channels_first")
    ke.explain(one, model, x, 1, verbose=0, **few(one))
    close(ke.explain(other, model, x, 1, verbose=0, **few(other)), alone, 1e-5)
