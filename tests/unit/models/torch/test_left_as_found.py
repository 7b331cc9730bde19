"""Explaining a PyTorch module leaves nothing behind: on it, in memory, for another thread; whatever is around the call."""

import copy
import gc
import threading

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import LayerError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402

from support import torch_models as nets  # noqa: E402
from support.calls import few, subject  # noqa: E402
from support.compare import close  # noqa: E402
from support.selection import REPRESENTATIVE  # noqa: E402
from support.threads import in_threads  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="modules need Keras on PyTorch")
Y = np.array([1, 4, 0])
METHODS = sorted(name for name in REPRESENTATIVE if subject(name) == "functional")  # tests/laws tries all


def explain(name, module, x, y=Y, **params):
    """The maps of a method that suits the module; None where it is refused."""
    try:
        return ke.explain(name, module, x, y, verbose=0, **{**few(name), **params}).maps
    except LayerError:
        return None


def state(module):
    """All that could be found changed on a module."""
    own = [
        {
            k: (id(v), copy.copy(v) if isinstance(v, (dict, set)) else None)
            for k, v in vars(m).items()
            if k != "training"
        }
        for m in module.modules()
    ]
    tensors = [(t.clone(), t.requires_grad, t.grad, t._version) for t in (*module.parameters(), *module.buffers())]
    return own, [m.training for m in module.modules()], tensors


def same(before, after):
    assert before[:2] == after[:2]
    for (value, *rest), (other, *others) in zip(before[2], after[2], strict=True):
        assert torch.equal(value, other) and rest == others


@pytest.mark.filterwarnings("ignore:.*the same everywhere")
@pytest.mark.parametrize("training", [False, True, "parts"])
@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_left_on_the_module(name, training):
    module, x = nets.drawn(nets.Plain("module_in_place")), nets.images()
    module.conv2.weight.requires_grad_(False)
    module.fc.weight.grad = torch.ones_like(module.fc.weight)
    module.conv1.register_forward_hook(lambda *_: None)
    module.train(bool(training))
    module.bn1.eval()
    before, copied = state(module), x.copy()
    explain(name, module, x)
    explain(name, module, torch.as_tensor(x))
    same(before, state(module))
    np.testing.assert_array_equal(x, copied)


class Fails(nn.Module):
    def forward(self, x):
        if x.shape[0] > 1:
            raise RuntimeError("out of luck")
        return x


def test_nothing_is_left_after_an_exception():
    module, x = nets.drawn(nets.Plain(head=Fails())), nets.images()
    module.train()
    before = state(module)
    for name in METHODS:
        with pytest.raises(RuntimeError, match="out of luck"):
            ke.explain(name, module, x, Y, verbose=0, **few(name))
        same(before, state(module))
    module.head = nn.Identity()
    close(ke.gradcam(module, x, Y, verbose=0).maps, ke.gradcam(module.eval(), x, Y, verbose=0).maps, 1e-6)


def test_a_module_in_training_is_explained_as_it_infers():
    module, x = nets.drawn(nets.Plain()), nets.images()
    expected = {name: explain(name, module, x) for name in ("gradients", "gradcam", "full_gradients")}
    module.train()
    for name, maps in expected.items():
        close(explain(name, module, x), maps, 1e-6)


class Overrides(nets.Plain):
    def train(self, mode=True):
        raise AssertionError("train() may do anything, such as merge weights: it must not be called")


def test_flags_are_set_without_calling_the_users_train():
    module = Overrides()
    nn.Module.train(module, True)
    ke.gradients(module, nets.images(), Y, verbose=0)
    assert module.training


class FirstInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nets.drawn(nets.Plain())

    def forward(self, x):
        return self.net(x.mul_(2).add_(1))


@pytest.mark.filterwarnings("ignore:.*the same everywhere")
@pytest.mark.parametrize("name", METHODS)
def test_images_stay_as_they_are(name):
    x = torch.as_tensor(nets.images())
    expected, kept = explain(name, FirstInPlace(), x.clone()), x.clone()
    leaf = x.clone().requires_grad_()
    maps = explain(name, FirstInPlace(), leaf)
    assert (maps is None) == (expected is None)
    assert torch.equal(leaf, kept) and leaf.grad is None and not leaf._backward_hooks
    if maps is not None:
        close(maps, expected, 1e-6)


@pytest.mark.filterwarnings("ignore:.*the same everywhere")
@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("name", METHODS)
def test_gradient_modes_around_the_call(name, around):
    module, x = nets.drawn(nets.Plain("module_in_place")), nets.images()
    expected = explain(name, module, x)
    with around():
        mode = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        maps = explain(name, module, torch.as_tensor(x) + 0)
        assert mode == (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    assert (maps is None) == (expected is None)
    if maps is not None:
        close(maps, expected, 1e-6)


@pytest.mark.filterwarnings("ignore:.*the same everywhere")
@pytest.mark.parametrize("name", METHODS)
def test_frozen_weights(name):
    module, x = nets.drawn(nets.Plain("module_in_place")), nets.images()
    expected = explain(name, module, x)
    module.requires_grad_(False)
    maps = explain(name, module, x)
    assert (maps is None) == (expected is None)
    if maps is not None:
        close(maps, expected, 1e-6)


class Learned(nn.Module):
    """A branch that depends on weights alone, with a bias of its own."""

    def __init__(self):
        super().__init__()
        self.seed, self.make = nn.Parameter(torch.ones(1, 4)), nn.Linear(4, 6)
        self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x) + self.make(self.seed)[:, :, None, None]).mean((2, 3)))


@pytest.mark.parametrize("frozen", [False, True])
def test_branches_that_depend_on_weights_alone(frozen):
    module, x = nets.drawn(Learned()).requires_grad_(not frozen), nets.images(1)
    found = ke.full_gradient_decomposition(module, x, 1)
    assert list(found.bias_gradients) == [("conv", 0), ("add", 0), ("fc", 0)]  # what it makes is added as a bias is
    made = module.make(module.seed).detach().requires_grad_()
    score = module.fc(torch.relu(module.conv(torch.as_tensor(x)) + made[:, :, None, None]).mean((2, 3)))[0, 1]
    (g,) = torch.autograd.grad(score, made)
    close(found.bias_gradients["add", 0][0, 0].sum((0, 1)), (g * made)[0].detach().numpy(), 1e-5)
    assert found.completeness.relative_gap.max() < 1e-5


def test_native_results_hang_on_no_graph():
    module, x = nets.drawn(nets.Plain()), nets.images()
    for name in ("gradcam", "cam", "gradients", "full_gradients"):
        native, host = (ke.explain(name, module, x, Y, verbose=0, batch_size=2, as_numpy=n) for n in (False, True))
        for tensor, array in zip(native, host, strict=True):
            assert tensor.device == module.fc.weight.device and not tensor.requires_grad and tensor.grad_fn is None
            np.testing.assert_array_equal(tensor.numpy(), array)


@pytest.mark.usefixtures("only_what_is_new")
def test_memory_is_flat():
    module, x = nets.drawn(nets.Plain("module_in_place")), nets.images()
    calls = (ke.gradcam, ke.full_gradients, ke.full_gradient_decomposition)

    def alive():
        objects = gc.get_objects()
        return sum(o.numel() for o in objects if issubclass(type(o), torch.Tensor)), len(objects)

    counts = []
    for _ in range(4):
        gc.collect()
        values, objects = alive()
        counts.append(objects)
        gc.disable()  # what is not freed at once would wait for the collector, with all that hangs on it
        try:
            for i in range(51):
                calls[i % 3](module, x, Y, verbose=0)
            assert alive()[0] < values + x.size
        finally:
            gc.enable()
    assert min(np.diff(counts)) < 51  # not one object a call; PyTorch's own caches may grow now and then


def test_threads_do_not_see_one_another():
    module, x = nets.drawn(nets.Plain("module_in_place")), nets.images(8)
    module.train()
    before = state(module)
    names = ["gradcam", "full_gradients", "gradients", "gradcampp"]
    jobs = [(names[i % 4], i % nets.UNITS, "conv3" if i % 2 else None) for i in range(8)]
    params = [{"layer": layer} if layer and "cam" in name else {} for name, _, layer in jobs]
    expected = [explain(n, module, x, y, **p) for (n, y, _), p in zip(jobs, params, strict=True)]
    found = in_threads(
        lambda i: [explain(jobs[i][0], module, x, jobs[i][1], **params[i]) for _ in range(10)], len(jobs)
    )
    same(before, state(module))
    for maps, alone in zip(found, expected, strict=True):
        assert len(maps) == 10
        for one in maps:
            close(one, alone, atol=1e-6)


def test_a_user_may_run_the_module_meanwhile():
    module, x = nets.drawn(nets.Plain()), torch.as_tensor(nets.images())
    expected, stop, outputs = module(x).detach(), threading.Event(), []

    def infer():
        while not stop.is_set():
            outputs.append(module(x).detach())

    thread = threading.Thread(target=infer)
    thread.start()
    for _ in range(30):
        ke.full_gradients(module, x, Y, verbose=0)
    stop.set()
    thread.join()
    assert all(torch.equal(o, expected) for o in outputs)


@pytest.mark.parametrize("wrap", ["parallel", "distributed", "compiled", "compiled in place", "compiled inside"])
def test_wrapped_modules(wrap):
    module, x = nets.drawn(nets.Plain()), nets.images()
    expected = {name: explain(name, module, x) for name in ("gradcam", "full_gradients")}
    torch._dynamo.reset()
    if wrap == "parallel":
        wrapped = nn.DataParallel(module)
    elif wrap == "distributed":
        if not torch.distributed.is_available():
            pytest.skip("this PyTorch has no distributed package")
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        wrapped = nn.parallel.DistributedDataParallel(module)
        torch.distributed.destroy_process_group()
    elif wrap == "compiled":
        wrapped = torch.compile(module, backend="eager")
        wrapped(torch.as_tensor(x))
    elif wrap == "compiled in place":
        module.compile(backend="eager")
        wrapped = module
        wrapped(torch.as_tensor(x))
    else:
        wrapped = nn.Sequential(torch.compile(module, backend="eager"))
        wrapped(torch.as_tensor(x))
    before = state(module)
    for name, maps in expected.items():
        close(explain(name, wrapped, x), maps, 1e-6)
    close(explain("gradcam", wrapped, x, layer="conv1"), explain("gradcam", module, x, layer=module.conv1), 1e-6)
    same(before, state(module))
