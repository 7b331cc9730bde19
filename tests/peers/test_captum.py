"""Input gradients and Grad-CAM of torch modules, beside Captum's."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)
import torch
from torch import nn

import keras_explainable as ke
from keras_explainable.methods.gradient.expected_gradients import draws as baseline_draws
from support.compare import as_numpy, close

attr = pytest.importorskip("captum.attr", reason="Captum, to compare with, is not installed: pip install captum")
UNITS = [1, 4, 2]


def small():
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, stride=2),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    ).eval()


def noise():
    return torch.randn(3, 3, 18, 22, generator=torch.Generator().manual_seed(1))


def scenes():
    return torch.from_numpy(ke.demo.load_scenes(3, seed=4)[0].transpose(0, 3, 1, 2).astype("float32"))


CASES = {
    "small": (small, noise, ["2", "3", "4"]),
    "demo": (lambda: ke.demo.load_module(), scenes, ["stem_norm", "block2_output", "features"]),
}


@pytest.fixture(params=CASES)
def case(request):
    make, images, layers = CASES[request.param]
    return make(), images(), layers


def alike(ours, theirs):
    theirs = as_numpy(theirs)
    assert np.ptp(theirs) > 0
    close([ours], [theirs])


def test_input_gradients_are_saliency(case):
    module, x, _ = case
    signed = attr.Saliency(module).attribute(x.clone().requires_grad_(), UNITS, abs=False)
    alike(np.moveaxis(ke.explain("gradients", module, x, UNITS, reduce=None, verbose=0).maps[:, 0], -1, 1), signed)
    absolute = attr.Saliency(module).attribute(x.clone().requires_grad_(), UNITS, abs=True)
    alike(ke.explain("gradients", module, x, UNITS, verbose=0).maps[..., 0], absolute.mean(1))
    alike(ke.explain("gradients", module, x, UNITS, reduce="sum", verbose=0).maps[..., 0], absolute.sum(1))
    alike(ke.explain("gradients", module, x, UNITS, reduce="max", verbose=0).maps[..., 0], absolute.amax(1))


def test_gradcam_is_layer_gradcam(case):
    module, x, layers = case
    for layer in layers:
        theirs = attr.LayerGradCam(module, module.get_submodule(layer)).attribute(
            x.clone(), UNITS, relu_attributions=True
        )
        ours = ke.explain("gradcam", module, x, UNITS, layer=layer, resizing=False, verbose=0).maps
        alike(np.maximum(ours[..., 0], 0), theirs[:, 0])


def parts(method, module, x, **params):
    return np.moveaxis(ke.explain(method, module, x, UNITS, reduce=None, verbose=0, **params).maps[:, 0], -1, 1)


def test_gradients_times_what_they_belong_to(case):
    module, x, _ = case
    alike(
        parts("input_x_gradient", module, x), attr.InputXGradient(module).attribute(x.clone().requires_grad_(), UNITS)
    )
    behind = torch.full_like(x, 0.2)
    theirs = attr.IntegratedGradients(module).attribute(
        x.clone(), behind, UNITS, n_steps=20, method="gausslegendre", return_convergence_delta=True
    )
    alike(parts("integrated_gradients", module, x, repetitions=20, baseline=0.2), theirs[0])
    gap = ke.integrated_gradients_gap(module, x, UNITS, repetitions=20, baseline=0.2)
    rise = gap.total - (gap.scores - gap.baseline_scores)
    close(rise[:, 0], theirs[1].detach(), atol=1e-4)


def test_expected_gradients_are_gradient_shap_on_the_same_draws(case, monkeypatch):
    module, x, _ = case
    origins = x.flip(0).clone() * 0.4  # no draw is so near the kink of a ReLU that rounding decides
    t, which = baseline_draws(4, len(origins), 3)

    def repeat(draws):  # every image sees the same: theirs are the draws of an image, then those of the next
        return np.tile(draws, len(x))

    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: repeat(t).astype("float64"))
    monkeypatch.setattr(np.random, "choice", lambda number, size: repeat(which))
    theirs = attr.GradientShap(module).attribute(x.clone(), origins, n_samples=4, stdevs=0.0, target=UNITS)
    alike(parts("expected_gradients", module, x, repetitions=4, baselines=origins, seed=3), theirs)
