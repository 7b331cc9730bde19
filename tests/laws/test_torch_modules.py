"""The laws of every method, on torch modules of the kinds that users have."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional as F

import keras_explainable as ke
from support.calls import explain, subject
from support.compare import close
from support.left_as_found import same, state
from support.selection import REPRESENTATIVE, every_method, fast, slow, very_slow
from support.threads import in_threads

METHODS = [name for name in ke.registry.METHODS if subject(name) == "functional"]
SIZE, N = (20, 24), 3
pytestmark = pytest.mark.filterwarnings("ignore:.*the same everywhere")


def sequential():
    stack = [nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()]
    return nn.Sequential(*stack, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, 5))


class Residual(nn.Module):
    """One ReLU, in place, for all; one convolution called twice."""

    def __init__(self):
        super().__init__()
        self.head, self.pool, self.relu = nn.Linear(8, 5), nn.AdaptiveAvgPool2d(1), nn.ReLU(inplace=True)
        self.twice, self.norm, self.stem = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(3, 8, 3, 2)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu(self.twice(self.relu(self.twice(x))) + x)
        return self.head(self.pool(x).flatten(1))


class Functional(nn.Module):
    """Activations, pooling and flattening are functions, and the scores a field of what is returned."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3, bias=False), nn.Linear(6, 5)
        self.norm = nn.BatchNorm2d(6, affine=False)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.first(x), inplace=True), 2)
        return {"logits": self.head(F.relu(self.norm(self.second(x))).mean((2, 3)))}


def drawn(module, seed=0):
    """The module in evaluation mode, its weights and statistics drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            width = 0.3 if value.ndim == 1 else (2 / value[0].numel()) ** 0.5
            random = torch.randn(value.shape, generator=generator) * width
            value.copy_(random.abs() + 0.5 if name.endswith("running_var") else random)
    return module.eval()


KINDS = {
    "sequential": lambda seed=0: drawn(sequential(), seed),
    "residual": lambda seed=0: drawn(Residual(), seed),
    "functional": lambda seed=0: drawn(Functional(), seed),
    "frozen": lambda seed=0: drawn(Residual(), seed).requires_grad_(False),
    "channels_last": lambda seed=0: drawn(Residual(), seed).to(memory_format=torch.channels_last),
    "training": lambda seed=0: drawn(sequential(), seed).train(),
}


def images(n=N, seed=0):
    return torch.randn(n, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=every_method(METHODS))
def method(request):
    return request.param


def pairs():
    """Every method on every kind: first on the kind whose turn it is, the representative ones before the others."""
    for number, method in enumerate(METHODS):
        for place, kind in enumerate(KINDS):
            turn = place == number % len(KINDS)
            mark = (
                fast if method in REPRESENTATIVE and turn else slow if method in REPRESENTATIVE or turn else very_slow
            )
            yield pytest.param(method, kind, marks=mark)


on_kinds = pytest.mark.parametrize(("method", "kind"), list(pairs()))


@on_kinds
def test_each_image_is_explained_by_itself(method, kind):
    module, x = KINDS[kind](), images()
    together = explain(method, module, x)
    assert np.ptp(together.maps, axis=(1, 2)).max() > 0
    close(explain(method, module, x, batch_size=1), together, 1e-4)
    close(explain(method, module, x, batch_size=2), together, 1e-4)
    close(explain(method, module, x.to(memory_format=torch.channels_last)), together, 1e-4)


@on_kinds
def test_units_are_columns(method, kind):
    module, x = KINDS[kind](), images(2)
    scores, maps = explain(method, module, x, None)
    chosen, rows = np.array([[4, 0], [2, 2]]), np.arange(2)[:, None]
    columns = np.moveaxis(maps, -1, 1)[rows, chosen].transpose(0, 2, 3, 1)
    close(explain(method, module, x, chosen), (scores[rows, chosen], columns), 1e-4)


@on_kinds
def test_the_module_is_left_as_it_was_also_by_a_call_that_raised(method, kind):
    module, x = KINDS[kind](), images()
    for parameter in list(module.parameters())[:2]:
        parameter.grad = torch.ones_like(parameter)
    next(module.children()).train(not module.training)  # a flag of its own
    before, pixels = state(module), x.clone()

    def broken(maps):
        raise RuntimeError("on purpose")

    explained = explain(method, module, x, as_numpy=False)
    assert not any(tensor.requires_grad for tensor in explained)
    same(before, state(module))
    with pytest.raises(RuntimeError, match="on purpose"):
        explain(method, module, x, postprocessing=broken)
    same(before, state(module))
    torch.testing.assert_close(x, pixels, rtol=0, atol=0)


def test_a_module_that_fails_half_way_is_left_as_it_was(method):
    module, x = Residual().train(), images()

    def failing(_):
        raise RuntimeError("on purpose")

    module.pool.forward = failing
    before = state(module)
    with pytest.raises(RuntimeError, match="on purpose"):
        explain(method, module, x)
    same(before, state(module))


@on_kinds
def test_same_seed_same_map(method, kind):
    module, x = KINDS[kind](), images()
    for seed in (None, 3):
        close(*(explain(method, module, x, seed=seed) for _ in range(2)), 0)


def test_permuted_units_permute_maps(method):
    for kind, head in (("residual", "head"), ("sequential", "8")):
        module, permuted, order = KINDS[kind](), KINDS[kind](), [3, 0, 4, 1, 2]
        last = permuted.get_submodule(head)
        last.weight.data, last.bias.data = last.weight.data[order], last.bias.data[order]
        scores, maps = explain(method, module, images(), None)
        close(explain(method, permuted, images(), None), (scores[:, order], maps[..., order]), 1e-4)


@pytest.mark.parametrize(
    ("other", "plain"), [("frozen", "residual"), ("channels_last", "residual"), ("training", "sequential")]
)
def test_what_changes_no_score_changes_no_map(method, other, plain):
    small = ke.registry.METHODS[method].family == "perturbation"  # small differences of scores, whose rounding shows
    close(explain(method, KINDS[other](), images()), explain(method, KINDS[plain](), images()), 1e-4 if small else 1e-5)


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_recording_may_be_switched_off_around_the_call(method, guard):
    module, x = KINDS["residual"](), images()
    expected = explain(method, module, x)
    with guard():
        close(explain(method, module, x), expected, 0)


@on_kinds
def test_training_on_is_seen(method, kind):
    module, x = KINDS[kind](), images()
    before = explain(method, module, x)
    module.load_state_dict(KINDS[kind](seed=1).state_dict())
    after = explain(method, module, x)
    close(after, explain(method, KINDS[kind](seed=1), x), 1e-5)
    assert abs(before.scores - after.scores).max() > 0.1


@pytest.mark.parametrize("method", sorted(REPRESENTATIVE & set(METHODS)))
@pytest.mark.parametrize("kind", ["residual", "training"])
def test_eight_threads_are_one(method, kind):
    module, x = KINDS[kind](), images()
    expected, before = explain(method, module, x), state(module)
    for result in in_threads(lambda i: explain(method, module, x)):
        close(result, expected, 1e-5)
    same(before, state(module))
