"""Steps that `torch.compile` compiles give the maps of steps that run as they are."""

import gc
import threading
import warnings
import weakref

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import backend

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402

from support import keras_models  # noqa: E402
from support import torch_models as nets  # noqa: E402
from support.calls import module as part  # noqa: E402
from support.calls import raw  # noqa: E402
from support.compare import close  # noqa: E402

pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="compiles graphs on PyTorch only"),
    pytest.mark.filterwarnings("error:jit_compile=True came"),
]
Y = np.array([[1, 4], [0, 0], [3, 2]])
METHODS = ("gradcam", "layercam", "gradients", "full_gradients", "smoothgrad", "guided_ig", "lrp_epsilon_plus")


class Counting(nets.Plain):
    """It counts how often its own code runs."""

    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return super().forward(x)


def both(method, model, x, y=Y, **params):
    """An explanation by a graph, compared with that of the same step as it is."""
    found = raw(method, model, x, y, jit_compile=True, **params)
    close(found, raw(method, model, x, y, **params), 1e-5)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_modules_are_those_of_steps_that_run_as_they_are(method, uncompiled):
    module, x = nets.drawn(Counting()), nets.images()
    both(method, module, x)
    assert uncompiled
    made, Counting.calls = len(uncompiled), 0
    raw(method, module, x * 2, Y, jit_compile=True)
    assert len(uncompiled) == made
    assert Counting.calls == 0


@pytest.mark.parametrize("method", ["gradcam", "full_gradients", "smoothgrad"])
def test_maps_of_keras_models_are_those_of_steps_that_run_as_they_are(method, uncompiled):
    both(method, keras_models.build_once("functional"), keras_models.images("functional"))
    assert uncompiled


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"score": lambda p: p**2}, {"batch_size": 2}])
def test_options_are_part_of_the_graph(options, uncompiled):
    both("gradcam", nets.drawn(nets.Plain()), nets.images(), **({"y": None} if "score" in options else {}), **options)
    assert len(uncompiled) == (2 if "batch_size" in options else 1)


def test_several_methods_are_one_graph(uncompiled):
    module, x = nets.drawn(nets.Plain()), nets.images()
    found = raw(["gradcam", "full_gradients"], module, x, Y, jit_compile=True)
    assert len(uncompiled) == 1
    for method, one in found.items():
        close(one, raw(method, module, x, Y), 1e-5)


@pytest.mark.parametrize("method", ["full_gradients", "lrp_epsilon_plus"])
def test_weights_are_read_at_each_call(method, uncompiled):
    module, x = nets.drawn(nets.Plain()), nets.images()
    both(method, module, x)
    with torch.no_grad():
        module.conv2.weight.mul_(-2)
        module.bn1.running_mean.add_(1)
    both(method, module, x)
    module.fc.weight = nn.Parameter(-module.fc.weight.detach())
    both(method, module, x)
    module.load_state_dict({k: v.clone() for k, v in nets.drawn(nets.Plain(), 7).state_dict().items()}, assign=True)
    both(method, module, x)
    assert len(uncompiled) == 1


def test_weights_of_keras_models_are_read_at_each_call(uncompiled):
    model, x = keras_models.build("functional"), keras_models.images("functional")
    before = both("gradients", model, x)
    for weight in model.trainable_weights:
        weight.assign(weight.value * 1.5)
    after = both("gradients", model, x)
    assert abs(before.maps - after.maps).max() > 0.1 * abs(before.maps).max()
    assert len(uncompiled) == 1


class Branching(nets.Plain):
    """Its code depends on values."""

    def forward(self, x):
        return super().forward(x) * (2 if float(x.mean()) > 0 else 3)


def test_a_module_that_cannot_be_traced_runs_as_it_is():
    module, x = nets.drawn(Branching()), nets.images()
    with pytest.warns(UserWarning, match="PyTorch cannot compile this step, so it runs uncompiled: .*Data") as warned:
        both("gradcam", module, x)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both("gradcam", module, -x)  # the other branch


def test_a_machine_without_a_compiler_runs_steps_as_they_are(monkeypatch):
    def compile(graph, **_):
        def run(*args):
            raise RuntimeError("No working C++ compiler found\nin any place")

        return run

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.warns(UserWarning, match="uncompiled: RuntimeError: No working C[+]{2} compiler found$"):
        both("gradcam", nets.drawn(nets.Plain()), nets.images())


def test_errors_are_those_of_the_step_itself(uncompiled):
    with pytest.raises(ke.errors.InputError, match="Unit 9 was asked for"):
        raw("gradcam", nets.drawn(nets.Plain()), nets.images(), 9, jit_compile=True)
    assert not uncompiled


class Remembering(nets.Plain):
    """It keeps the output of its last run."""

    def forward(self, x):
        self.last = super().forward(x)
        return self.last


def test_the_module_is_left_as_by_a_run(uncompiled):
    module = nets.drawn(Remembering()).train()
    flags = {name: one.training for name, one in module.named_modules()}
    state = {name: value.clone() for name, value in module.state_dict().items()}
    both("gradients", module, nets.images())
    assert uncompiled
    assert np.isfinite(module.last.detach().numpy()).all()
    assert flags == {name: one.training for name, one in module.named_modules()}
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(not one._forward_hooks and not one._forward_pre_hooks for one in module.modules())


@pytest.mark.usefixtures("only_what_is_new")
def test_nothing_is_kept_alive(uncompiled):
    module = nets.drawn(nets.Plain())
    raw("full_gradients", module, nets.images(), Y, jit_compile=True)
    kept = weakref.ref(module), *map(weakref.ref, module.parameters()), weakref.ref(uncompiled[0])
    assert ke.cache_info().functions
    assert not any(value is weight for weight in module.parameters() for value in vars(uncompiled[0]).values())
    uncompiled.clear()
    del module
    gc.collect()
    assert [ref() for ref in kept] == [None] * len(kept)


def test_an_argument_given_twice_is_two_arguments(uncompiled):
    graph = backend.compile(lambda a, b, c: (a - 2 * b, c and a), lambda: [], True, False)
    one, two = torch.tensor([1.0, 5.0]), torch.tensor([3.0, 4.0])
    for a, b in ((one, one), (one, two), (two, one)):
        found, nothing = graph(a, b, None)
        close([found], [a - 2 * b], 0)
        assert nothing is None
    assert len(uncompiled) == 1


def test_other_threads_are_not_traced(uncompiled):
    seen = []

    class Asking(nets.Plain):
        def forward(self, x):
            other = threading.Thread(target=lambda: seen.append(backend.is_traced(x)))
            other.start()
            other.join()
            return super().forward(x)

    raw("gradcam", nets.drawn(Asking()), nets.images(), Y, jit_compile=True)
    assert uncompiled
    assert not any(seen)
    assert not backend.is_traced(torch.zeros(1))


def test_noise_on_the_device_is_that_on_the_host():
    random = part("numerics.random")
    close([random.on_device((4, 5), 3, 2, 1).numpy()], [random.on_host((4, 5), 3, 2, 1)], 0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradcam", "full_gradients", "smoothgrad"])
@pytest.mark.usefixtures("only_what_is_new")
def test_compiled_maps_are_those_of_steps_that_run_as_they_are(method):
    module, x = nets.drawn(Counting()), nets.images()
    both(method, module, x)
    Counting.calls = 0
    raw(method, module, x, Y, jit_compile=True)
    assert Counting.calls == 0
    kept = weakref.ref(module), *map(weakref.ref, module.parameters())
    del module
    gc.collect()
    assert [ref() for ref in kept] == [None] * len(kept)
