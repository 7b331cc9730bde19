"""What the benchmark holds a method to is read from the cost that the method states of itself, and what it compares maps
with gives the same maps."""

import numpy as np
import pytest
from bench import groups, reference_maps

import keras_explainable as ke
from keras_explainable.costs import Cost
from keras_explainable.explaining.several import Explanations
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, fast_on_torch

pytestmark = fast_on_torch

LETTERS = {"n": 5, "K": 1, "C": 10, "windows": 4, "segments": 3, "R": 2, "tail": 0.5}


@pytest.mark.parametrize(
    ("cost", "seconds"),
    [
        ("1 forward + K backward", 3),
        ("(2 + C) forward", 12),
        ("1 forward + n (forward + K backward)", 16),
        ("(1 + n (1 + segments)) forward", 21),
        ("R (2 forward + 2 K backward)", 12),
        ("2 forward + C tail", 7),
        ("2 forward + 2 n (forward + K backward)", 32),
    ],
)
def test_a_cost_is_arithmetic(cost, seconds):
    assert Cost(cost).passes(forward=1.0, backward=2.0, **LETTERS) == seconds


@pytest.mark.parametrize("name", sorted(ke.registry.METHODS))
def test_every_method_states_one(name):
    assert ke.registry.METHODS[name].cost.passes(forward=1.0, backward=2.0, **LETTERS) >= 1


FULL = ("full_gradients", "simple_full_gradients")
AT_LAYER = (*reference_maps.CAMS, "ablationcam")
WITNESSED = (*AT_LAYER, *FULL, *reference_maps.SMOOTHED, "integrated_gradients", "input_x_gradient")


@pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
@pytest.mark.parametrize("method", WITNESSED)
def test_witnesses_agree_with_maps(method):
    images, labels, _ = ke.demo.load_scenes(2, seed=3)
    module, x, y = ke.demo.load_module(), images.transpose(0, 3, 1, 2).astype("float32"), labels.argmax(1)[:, None]
    params = {"layer": "features"} if method in AT_LAYER else {}
    params |= {"repetitions": 3} if method in (*reference_maps.SMOOTHED, "integrated_gradients") else {}
    expected = reference_maps.witness(method, module, "features", x, y, 3)
    close([raw(method, module, x, y, **params).maps[..., 0]], [expected], 1e-4)


@pytest.mark.parametrize("text", ["", "1 forward +", "2 (forward", "forward)", "1 - forward", "n * forward"])
def test_a_cost_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match="cost"):
        Cost(text)
    with pytest.raises(ke.errors.InputError, match="cost"):
        ke.methods.explainer("cam", "gradient", text, "")(lambda view: None)


def test_a_group_is_right_if_its_maps_are_those_of_each_method_alone():
    maps = np.arange(12.0).reshape(1, 3, 4, 1)
    found = Explanations({"gradcam": ke.Explanation(np.zeros((1, 1)), maps)}, {})
    assert groups.agree(found, {"gradcam": maps * (1 + 1e-7)}) == "right"
    assert groups.agree(found, {"gradcam": maps * 1.1}).startswith("wrong by 9.1e-02 (gradcam)")
    assert groups.agree(found, {"gradcam": maps * np.nan}).startswith("wrong by nan")
