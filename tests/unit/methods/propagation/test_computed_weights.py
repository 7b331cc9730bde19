"""Weights that are no plain parameter of their layer: what the layer computes with counts, and nothing is changed."""

import copy

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, slow

pytestmark = slow

METHODS = (
    *("full_gradients", "lrp_epsilon", "lrp_epsilon_plus", "lrp_epsilon_gamma_box", "deeplift", "attnlrp"),
    *("excitation_backprop", "guided_backprop"),
)
RNG = np.random.default_rng(3)


def lora():
    x = inputs = keras.Input((10, 10, 3))
    x = L.Conv2D(4, 3, activation="relu", name="conv")(x)
    return keras.Model(inputs, L.Dense(3, name="head")(L.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("method", METHODS)
def test_low_rank_weights_of_keras_are_those_that_are_merged(method):
    model, merged = lora(), lora()
    for name in ("conv", "head"):
        layer = model.get_layer(name)
        layer.enable_lora(2)
        for weight in (layer.bias, layer.lora_kernel_b):
            weight.assign(RNG.normal(size=weight.shape))
        merged.get_layer(name).set_weights([ops.convert_to_numpy(layer.kernel), ops.convert_to_numpy(layer.bias)])
    x = RNG.normal(size=(2, 10, 10, 3)).astype("float32")
    before = [ops.convert_to_numpy(weight) for weight in model.weights]
    expected = raw(method, merged, x, [0, 2])
    assert abs(expected.maps).max() > 1e-3
    close(raw(method, model, x, [0, 2]), expected, 1e-5)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), value)


if BACKEND == "torch":
    import torch
    from torch import nn
    from torch.nn.utils import parametrizations, parametrize, prune

    class Twice(nn.Module):
        def forward(self, value):
            return 2 * value + 0.2

    def net(norms=False):
        torch.manual_seed(0)
        middle = [nn.BatchNorm2d(8)] if norms else []
        stack = [nn.Conv2d(3, 8, 3), *middle, nn.ReLU(), nn.ConvTranspose2d(8, 6, 3), nn.ReLU()]
        return nn.Sequential(*stack, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()

    def pruned(layer):
        prune.l1_unstructured(layer, "weight", 0.3)
        prune.l1_unstructured(layer, "bias", 2)

    def of_ones_own(layer):
        for name in ("weight", "bias"):
            parametrize.register_parametrization(layer, name, Twice())

    def shown(layer):
        """A bias that is another's, by a property."""
        kind = type(layer)
        other = nn.Parameter(layer.bias.detach() + 0.3)
        del layer.bias
        layer.__class__ = type(kind.__name__, (kind,), {"bias": property(lambda self: other)})

    HOW = {
        "pruned": pruned,
        "parametrized": of_ones_own,
        "spectral_norm": parametrizations.spectral_norm,
        "weight_norm": parametrizations.weight_norm,
        "old weight_norm": nn.utils.weight_norm,
        "a property": shown,
    }
    # The same layers with plain weights.
    KERNELS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d)

    def changed(how, norms=False):
        """A net whose weights are computed, and the same one with these as parameters."""
        found, plain = net(norms), net(norms)
        for layer, same in zip(found, plain, strict=True):
            if not isinstance(layer, KERNELS) or (how != "parametrized" and isinstance(layer, nn.BatchNorm2d)):
                continue
            HOW[how](layer)
            with torch.no_grad():
                for name in ("weight", "bias"):
                    same.get_parameter(name).copy_(getattr(layer, name))
        return found, plain

    @pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
    @pytest.mark.parametrize("norms", [False, True])
    @pytest.mark.parametrize("how", HOW)
    @pytest.mark.parametrize("method", METHODS)
    def test_what_a_module_computes_with_counts(method, how, norms):
        found, plain = changed(how, norms)
        x = RNG.normal(size=(2, 3, 10, 10)).astype("float32")
        expected = raw(method, plain, x, [1, 3])
        assert abs(expected.maps).max() > 1e-3
        close(raw(method, found, x, [1, 3]), expected, 1e-6)

    @pytest.mark.parametrize("method", ["lrp_epsilon_plus", "full_gradients", "gradcam", "attnlrp"])
    def test_a_module_in_training_mode_keeps_what_its_weights_are_made_of(method):
        found, _ = changed("spectral_norm", norms=True)
        x = RNG.normal(size=(2, 3, 10, 10)).astype("float32")
        expected = raw(method, copy.deepcopy(found), x, 1)
        before = {name: value.clone() for name, value in found.train().state_dict().items()}
        close(raw(method, found, x, 1), expected, 1e-6)
        ke.inspection.layers_with_biases(found)
        assert all(part.training for part in found.modules())
        for name, value in found.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_a_pruned_bias_is_that_of_the_weights_of_now():
        found, plain = changed("pruned")
        x = RNG.normal(size=(2, 3, 10, 10)).astype("float32")
        raw("full_gradients", found, x, 1)
        with torch.no_grad():  # as a step of training does, after which no forward pass took place
            for layer, same in zip(found, plain, strict=True):
                if isinstance(layer, KERNELS):
                    layer.bias_orig += 0.5
                    same.bias += 0.5 * layer.bias_mask
        for method in ("full_gradients", "lrp_epsilon"):
            close(raw(method, found, x, 1), raw(method, plain, x, 1), 1e-6)
        gap = ke.full_gradient_decomposition(found, x, 1).completeness.relative_gap
        assert gap.max() < 1e-5
