"""Several methods at once: the maps of each alone, from fewer passes."""

import functools
import gc
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import backend
from keras_explainable.errors import InputError, LayerError, MethodNameError
from support import keras_models
from support.calls import UNITS, few
from support.compare import close
from support.keras_models import on
from support.selection import BACKEND, slow_compiled

EIGHT = ["cam", "gradcam", "gradcampp", "hirescam", "xgradcam", "layercam", "eigencam", "eigengradcam"]
OF_INPUT = ["gradients", "input_x_gradient", "full_gradients", "simple_full_gradients"]
OF_COPIES = ["smoothgrad", "vargrad", "squaregrad"]

model, x = on("functional", 3)


def together(methods, model, x, y=UNITS, **params):
    return ke.explain(methods, model, x, y, verbose=0, **params)


def with_few(names):
    return {name: (name, few(name)) for name in names}


def of_kind(kind):
    attention = ke.registry.Need.ATTENTION
    return [r.name for r in ke.methods.list() if (attention in r.needs) == (kind == "transformer")]


def check_equal(found, methods, model, x, **params):
    for label, (method, own) in methods.items():
        alone = ke.explain(method, model, x, UNITS, verbose=0, **params, **own)
        for ours, theirs in zip(found[label], alone, strict=True):
            close(ours, theirs, rtol=0, atol=(1e-6 if BACKEND == "torch" else 3e-6) * max(1e-30, np.abs(theirs).max()))
        assert found[label].about.keys() == alone.about.keys()


def counted(seen, name, run, *given):
    seen.append(name)
    return run(*given)


@pytest.fixture
def passes(monkeypatch):
    """What was run of the model so far: "jacobian" or "evaluate"."""
    seen = []
    for name in ("jacobian", "evaluate"):
        monkeypatch.setattr(backend, name, functools.partial(counted, seen, name, getattr(backend, name)))
    return seen


@pytest.mark.parametrize("kind", ["functional", pytest.param("transformer", marks=slow_compiled)])
def test_maps_are_those_of_each_method_alone(kind):
    names = of_kind(kind) if BACKEND == "torch" or kind == "transformer" else [*EIGHT, *OF_INPUT, *OF_COPIES]
    methods, model, x = with_few(names), keras_models.build_once(kind), keras_models.images(kind)
    before = [w.copy() for w in model.get_weights()]
    found = together(methods, model, x)
    assert list(found) == names and not found.failed
    check_equal(found, methods, model, x)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.skipif(BACKEND != "torch", reason="a module is PyTorch's")
def test_maps_of_a_module_are_those_of_each_method_alone():
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).eval()  # fmt: skip
    x = np.random.default_rng(0).normal(size=(3, 3, 12, 14)).astype("float32")
    methods = with_few(of_kind("functional"))
    found = together(methods, net, x, batch_size=2)
    check_equal(found, methods, net, x, batch_size=2)


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (EIGHT, ["jacobian"]),
        ([*EIGHT, *OF_INPUT], ["jacobian"]),
        (["cam", "eigencam"], ["evaluate"]),
        (["cam", "gradients"], ["jacobian"]),  # that signal is not one of the gradient's
        (["guided_backprop", "guided_gradcam", "gradcam"], ["jacobian"] * 2),
        (OF_COPIES, ["jacobian"] * 4),
        ([*OF_COPIES, "smooth_full_gradients", "smooth_gradcampp"], ["jacobian"] * 4 + ["evaluate"]),
    ],
    ids=lambda value: "-".join(value)[:40],
)
def test_a_pass_runs_once(methods, expected, passes, model, x):
    given = {name: (name, {"repetitions": 4} if few(name) else {}) for name in methods}
    together(given, model, x, run_eagerly=True)  # where signals lie is found out once
    passes.clear()
    together(given, model, x, run_eagerly=True)
    of_scores = ["evaluate"] * passes.count("evaluate") if "evaluate" not in expected else []
    assert sorted(passes) == sorted(expected + of_scores), passes
    assert len(of_scores) <= 1  # whether two runs of the model differ


def test_attention_is_computed_once(passes):
    methods = ["attention_rollout", "gradient_attention_rollout", "attention_relevance"]
    model, x = keras_models.build_once("transformer"), keras_models.images("transformer")
    together(methods, model, x, run_eagerly=True)
    passes.clear()
    together(methods, model, x, run_eagerly=True)
    assert passes.count("jacobian") == 1


def failing(model, inputs, indices=None, score=None):
    raise LayerError("This one never works.")


def test_a_method_that_fails_leaves_the_others(model, x):
    with pytest.warns(UserWarning, match="failing: left out.*This one never works"):
        found = together(["gradcam", failing, "attention_rollout", "smoothgrad"], model, x, repetitions=2)
    assert list(found) == ["gradcam", "smoothgrad"]
    assert isinstance(found.failed["failing"], LayerError) and "attention" in str(found.failed["attention_rollout"])
    check_equal(found, {"gradcam": ("gradcam", {})}, model, x)


def test_if_all_fail_the_first_exception_is_raised(model, x):
    with pytest.raises(LayerError, match="never works"):
        together([failing, "attention_rollout"], model, x)


class SometimesFails:
    __name__ = "sometimes"

    def __init__(self):
        self.calls = 0

    def __call__(self, model, inputs, indices=None, score=None):
        self.calls += 1
        if self.calls > 1:
            raise ValueError("The second batch.")
        return ke.methods.cams.gradcam(model, inputs, indices)


def test_what_a_method_explained_before_it_failed_is_kept(model, x):
    with pytest.warns(UserWarning, match="sometimes: left out.*ValueError: The second batch"):
        found = together(["hirescam", SometimesFails()], model, x, batch_size=2, run_eagerly=True)
    assert found["hirescam"].maps.shape[0] == 3
    alone = ke.explain(SometimesFails(), model, x[:2], UNITS[:2], verbose=0)
    close(found.failed["sometimes"].partial.maps, alone.maps, rtol=1e-5, atol=1e-7)


def test_an_interrupt_loses_nothing(model, x):
    def source():
        yield x[:1], UNITS[:1]
        yield x[1:2], UNITS[1:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        ke.explain(["gradcam", "smoothgrad"], model, source(), verbose=0, repetitions=2)
    done = stopped.value.partial
    assert list(done) == ["gradcam", "smoothgrad"] and all(len(one.maps) == 2 for one in done.values())


def test_a_source_is_read_once(model, x):
    read = []

    def source():
        for i in range(3):
            read.append(i)
            yield x[i : i + 1], UNITS[i : i + 1]

    found = ke.explain(["gradcam", "hirescam"], model, source(), verbose=0)
    assert read == [0, 1, 2] and found["hirescam"].maps.shape[0] == 3


def test_labels_name_methods_with_their_parameters(model, x):
    methods = {
        "early": ("gradcam", {"layer": model.layers[1].name}),
        "late": "gradcam",
        "few": ("smoothgrad", {"repetitions": 2}),
        "more": "smoothgrad",
    }
    found = together(methods, model, x, repetitions=4, seed=3)
    assert found["early"].about["signal"] != found["late"].about["signal"]
    assert found["few"].about["repetitions"] == 2 and found["more"].about["repetitions"] == 4
    alone = ke.explain("smoothgrad", model, x, UNITS, verbose=0, repetitions=2, seed=3)
    close(found["few"].maps, alone.maps, rtol=1e-5, atol=1e-6)


def test_usual_postprocessing_is_that_of_the_shortcuts(model, x):
    found = together(["gradcam", "gradients"], model, x, postprocessing="usual")
    for name in found:
        close(found[name].maps, getattr(ke, name)(model, x, UNITS, verbose=0).maps, atol=1e-6)
    one = ke.explain("gradcam", model, x, UNITS, verbose=0, postprocessing="usual")
    close(one.maps, found["gradcam"].maps, atol=1e-6)


def test_tensors_stay_on_the_device(model, x):
    found = together(["gradcam", "gradients"], model, x, as_numpy=False)
    assert all(keras.ops.is_tensor(one.maps) for one in found.values())


@pytest.mark.parametrize(
    ("methods", "params", "error", "match"),
    [
        ([], {}, InputError, "No method came"),
        (["gradcam", "gradcam"], {}, InputError, "gradcam came twice"),
        (["gradcam", "grdcam"], {}, MethodNameError, "Nearest: gradcam"),
        (["gradcam", 3], {}, InputError, "3 came, and a method or its name"),
        ({1: "gradcam"}, {}, InputError, "The label 1 came"),
        ({"a": ("gradcam", {"score": ke.scores.unit(1)})}, {}, InputError, "a has its own score="),
        ({"a": ("gradcam", {"repetitions": 3})}, {}, InputError, "gradcam takes no repetitions="),
        (["gradcam", "hirescam"], {"repetitions": 3}, InputError, "repetitions= came, and none of the methods"),
    ],
    ids=str,
)
def test_wrong_lists_of_methods_are_refused_before_any_work(methods, params, error, match, passes, model, x):
    with pytest.raises(error, match=match):
        together(methods, model, x, **params)
    assert not passes


def test_nothing_keeps_the_model_alive(x):
    net = keras_models.build("functional", seed=3)
    gone = weakref.ref(net)
    with pytest.warns(UserWarning, match="failing"):
        found = together(["gradcam", failing, "smoothgrad"], net, x, repetitions=2)
    del net
    keras.backend.clear_session()
    gc.collect()
    assert gone() is None and found.failed


def test_a_device_without_memory_for_a_batch_gets_halves(model, x, monkeypatch):
    memory = type("Memory", (RuntimeError,), {})
    monkeypatch.setattr(backend, "is_out_of_memory", lambda error: isinstance(error, memory))

    def limited(model, inputs, indices=None, score=None):
        if len(inputs) > 2:
            raise memory("no memory")
        return ke.methods.cams.gradcam(model, inputs, indices)

    with pytest.warns(UserWarning, match="continues with 2"):
        found = together(["hirescam", limited], model, x, run_eagerly=True)
    alone = ke.explain("hirescam", model, x, UNITS, verbose=0)
    close(found["hirescam"].maps, alone.maps, rtol=1e-5, atol=1e-7)
    assert not found.failed and len(found["limited"].maps) == 3


def test_the_second_half_may_fail_where_the_first_did_not(model, x, monkeypatch):
    memory = type("Memory", (RuntimeError,), {})
    monkeypatch.setattr(backend, "is_out_of_memory", lambda error: isinstance(error, memory))

    def limited(model, inputs, indices=None, score=None):
        if len(inputs) == 3:
            raise memory("no memory")
        if len(inputs) == 1:
            raise LayerError("The last image.")
        return ke.methods.cams.gradcam(model, inputs, indices)

    with pytest.warns(UserWarning):
        found = together(["hirescam", limited], model, x, run_eagerly=True)
    assert (
        list(found) == ["hirescam"]
        and len(found["hirescam"].maps) == 3
        and "last image" in str(found.failed["limited"])
    )


EVERY_CAM = """
import keras_explainable as ke
scenes, labels, _ = ke.demo.load_scenes(16, 7)
names = [r.name for r in ke.methods.list() if not ke.registry.traits(r.function).repeats and r.family != "attention"]
for _ in range(2):
    found = ke.explain(names, ke.demo.load_model(), scenes, labels.argmax(-1), verbose=0)
assert list(found) == names and len(names) > 20
"""


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "jax", reason="one program of many parts, some of which run at the same time, is JAX's")
def test_parts_of_a_program_do_not_wait_for_each_other_for_ever():
    subprocess.run([sys.executable, "-W", "ignore", "-c", EVERY_CAM], check=True, timeout=300)
