"""What the reference gets wrong, one test for each, against values by hand or by plain automatic differentiation."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the package saliency explains modules of PyTorch: KERAS_BACKEND=torch", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional as F

from keras_explainable.errors import InputError
from saliency.fullgrad import FullGrad
from saliency.grad import InputGradient
from saliency.tensor_extractor import FullGradExtractor
from support.compare import close
from support.saliency import EXPLAINERS, SIZE, Winding, every, hooks, images, plain_gradient, randomized

# Biases and gradients were paired by order, registered forwards and executed backwards.


def test_biases_belong_to_their_gradients_whatever_the_order_of_modules():
    module, x = randomized(Winding()), images()
    scores = module(x).detach()
    gradient, parts = FullGrad(module).fullGradientDecompose(x, torch.tensor([1, 3]))
    assert [tuple(part.shape[1:]) for part in parts] == [(8, 10, 16)] * 4 + [(4,)]
    total = (gradient * x).sum((1, 2, 3)) + sum(part.flatten(1).sum(1) for part in parts)
    close(total, scores[[0, 1], [1, 3]])
    biases = FullGradExtractor(module, SIZE).getBiases()
    shift = module.norm.bias - module.norm.running_mean * module.norm.weight / (module.norm.running_var + 1e-5).sqrt()
    second = module.second.bias
    for bias, expected in zip(biases, [module.first.bias, shift, second, second, module.head.bias], strict=True):
        close(bias, expected.detach())


# Biases were copied when the object was made, and batch normalisation had to have all of its parts.


def test_weights_loaded_afterwards_are_seen():
    module, x = randomized(Winding()), images()
    before = FullGrad(module)
    old = before.saliency(x, 1)
    randomized(module, seed=1)
    close(before.saliency(x, 1), FullGrad(module).saliency(x, 1))
    assert float((before.saliency(x, 1) - old).abs().max()) > 0.1


class Standardized(nn.Module):
    """Batch normalisation by the batch's own statistics, written out: its bias is that of a convolution."""

    def __init__(self, norm):
        super().__init__()
        self.scaled = nn.Conv2d(8, 8, 1, groups=8)
        self.scaled.weight.data, self.scaled.bias.data = norm.weight.data.reshape(8, 1, 1, 1), norm.bias.data

    def forward(self, x):
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        return self.scaled((x - mean) / torch.sqrt(var + 1e-5))


@pytest.mark.parametrize("missing", ["affine", "track_running_stats"])
def test_batch_normalisation_without_some_of_its_parts(missing):
    module = Winding()
    module.norm = nn.BatchNorm2d(8, **{missing: False})
    found = FullGrad(randomized(module)).saliency(images(), 0)
    if missing == "affine":
        whole = nn.BatchNorm2d(8).eval()  # its scale is 1, its shift 0
        whole.load_state_dict(module.norm.state_dict(), strict=False)
    else:
        whole = Standardized(module.norm)
    module.norm = whole
    torch.testing.assert_close(found, FullGrad(module).saliency(images(), 0), rtol=1e-4, atol=1e-4)


# The constructor ran the module on a random image and asserted a relative tolerance; hooks were left on the module.


class Refuses(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        raise RuntimeError("this module was run")


@pytest.mark.parametrize("make", [*EXPLAINERS.values(), FullGradExtractor], ids=[*EXPLAINERS, "FullGradExtractor"])
def test_making_an_object_does_nothing_to_the_module(make):
    module = Refuses().train()
    make(module)
    assert hooks(module) == 0 and module.training
    with pytest.raises(RuntimeError, match="this module was run"):
        (make(module).getBiases if make is FullGradExtractor else lambda: make(module).saliency(images(), 0))()
    assert hooks(module) == 0 and module.training


def test_completeness_is_reported_and_never_asserted(capsys):
    class Curved(Winding):
        def forward(self, x):
            return self.head(F.gelu(self.second(F.gelu(self.first(x)))).mean((2, 3)))

    module = randomized(Curved())
    x, y = images(1), torch.tensor([2])
    report = FullGrad(module, SIZE).checkCompleteness(x, y)
    printed = capsys.readouterr().out
    score, gradient = module(x)[0, 2].item(), plain_gradient(module, x, y)
    parts = FullGrad(module).fullGradientDecompose(x, y)[1]
    total = float((gradient * x).sum() + sum(part.sum() for part in parts))
    close([report.scores[0, 0], report.total[0, 0]], [score, total], rtol=1e-5)
    assert report.absolute_gap[0, 0] == pytest.approx(abs(score - total), rel=1e-3)
    assert (
        printed.startswith("FullGrad is not complete here") and f"{total:.3g}" in printed and f"{score:.3g}" in printed
    )


def test_completeness_of_a_score_that_is_nearly_zero(capsys):
    module, x = randomized(Winding()), images(1)
    with torch.no_grad():
        module.head.bias -= module(x)[0]  # the scores are rounding errors now: no relative tolerance holds of them
    report = FullGrad(module).checkCompleteness(x, 0)
    assert abs(report.scores[0, 0]) < 1e-6 and report.relative_gap[0, 0] < 1e-5
    assert "is complete here" in capsys.readouterr().out


# The caller's image was made to require a gradient, gradients of weights were wiped, maps hung on the graph.


class Standardizing(Winding):
    def forward(self, x):
        return super().forward((x - 0.5) / 0.25)


class StandardizingInPlace(Winding):
    def forward(self, x):
        return super().forward(x.sub_(0.5).div_(0.25))


@every
def test_the_image_the_weights_and_the_mode_stay_as_they_were(make):
    module, x = randomized(StandardizingInPlace()).train(), images()
    module.norm.eval()  # a mode of its own, as where a backbone is frozen
    module.head.weight.grad = torch.ones_like(module.head.weight)
    image, state = x.clone(), {name: value.clone() for name, value in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    maps = make(module).saliency(x)
    close(maps, make(randomized(Standardizing())).saliency(image))
    assert not maps.requires_grad and maps.grad_fn is None
    assert not x.requires_grad and x.grad is None and torch.equal(x, image)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert [m.training for m in module.modules()] == modes and hooks(module) == 0
    assert bool((module.head.weight.grad == 1).all()) and module.first.weight.grad is None
    assert all(p.requires_grad for p in module.parameters())


@every
def test_an_image_with_a_gradient_a_scope_without_one_and_frozen_weights(make):
    module, x = randomized(Winding()), images()
    expected = make(module).saliency(x, 1)
    leaf = x.clone().requires_grad_()
    maps = make(module).saliency(leaf * 1.0, 1)
    assert leaf.grad is None and not maps.requires_grad
    close(maps, expected)
    with torch.no_grad():
        close(make(module).saliency(x, 1), expected)
    with torch.inference_mode():
        maps = make(module).saliency(x, 1)
    close(maps.clone(), expected)
    close(make(module.requires_grad_(False)).saliency(x, 1), expected)


# `view` failed on other memory formats, and a constant map was divided by zero.


@every
def test_channels_last_memory(make):
    module, x = randomized(Winding()), images()
    expected = make(module).saliency(x, 1)
    turned = module.to(memory_format=torch.channels_last)
    close(make(turned).saliency(x.to(memory_format=torch.channels_last), 1), expected)


@every
def test_the_map_of_an_image_of_zeros_is_that_of_nearly_zeros(make):
    module, zeros = randomized(Winding()), torch.zeros(1, *SIZE)
    close(make(module).saliency(zeros, 1), make(module).saliency(zeros + 1e-6, 1), 1e-3)


# A class of shape (N, 1) failed in some classes, and one of shape (N,) in others.


@every
def test_a_class_in_every_form(make):
    module, x = randomized(Winding()), images(3)
    best = module(x).argmax(1)
    expected = torch.cat([make(module).saliency(x[i : i + 1], int(best[i])) for i in range(3)])
    for form in (None, best, best[:, None], best.int(), best.tolist()):
        close(make(module).saliency(x, form), expected)
    close(make(module).saliency(x[:1], best[0]), expected[:1])
    close(make(module).saliency(x, 2), make(module).saliency(x, torch.full((3,), 2)))


@pytest.mark.parametrize(
    "bad", [torch.tensor([1, 2]), torch.ones(3, 2, dtype=int), 4, -1, torch.tensor([0.1, 0.2, 0.3]), "dog"], ids=str
)
def test_what_is_no_class_for_each_image_is_refused(bad):
    with pytest.raises(InputError):
        FullGrad(randomized(Winding())).saliency(images(3), bad)


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(SIZE), np.zeros((1, *SIZE)), None, torch.full((1, *SIZE), torch.nan)],
    ids=["3d", "numpy", "none", "nan"],
)
def test_what_is_no_batch_of_images_is_refused(bad):
    with pytest.raises(InputError):
        InputGradient(randomized(Winding())).saliency(bad)


def test_a_keras_model_is_sent_to_the_functions_for_it():
    with pytest.raises(InputError, match="ke.full_gradients"):
        FullGrad(keras.Sequential([keras.layers.Dense(2)]))


# And what is no mistake: the loss, types, devices.


def test_the_gradient_of_the_loss():
    module, x, y = randomized(Winding()), images(), torch.tensor([0, 2])
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(module(leaf), y, reduction="sum"), leaf)
    close(InputGradient(module, loss=True).saliency(x, y), gradient.abs().sum(1, keepdim=True))


@every
def test_results_are_of_the_images_type(make):
    module, x = randomized(Winding()), images()
    expected = make(module).saliency(x, 1)
    assert expected.dtype == torch.float32
    double = make(module).saliency(x.double(), 1)
    assert double.dtype == torch.float64
    close(double.float(), expected)
    assert make(module).saliency((x * 50).byte(), 1).dtype == torch.float32


def test_a_score_is_no_class():
    module, x = randomized(Winding()), images(1)
    with pytest.raises(InputError, match="a class was expected"):
        FullGradExtractor(module, SIZE).getFeatureGrads(x, module(x)[0, 1])
