"""What propagation gives to the pixels adds up: to the score, or to how far it is from a baseline's."""

import numpy as np
import pytest

from support import keras_models
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, slow_compiled, very_slow_compiled

pytestmark = slow_compiled

UNITS = [1, 0, 3]
KINDS = [
    "functional",
    *(pytest.param(name, marks=very_slow_compiled) for name in ("fused", "channels_first", "module")),
]
if BACKEND != "torch":
    KINDS = KINDS[:-1]
# Epsilon keeps nearly nothing; and of the z-plus rule's positive parts, padding and dead outputs keep nothing.
RULES = {
    "lrp_epsilon": {"epsilon": 1e-9},
    "lrp_epsilon_plus": {"epsilon": 1e-9},
    "lrp_epsilon_plus_flat": {"epsilon": 1e-9},
    "lrp_epsilon_alpha2_beta1": {"epsilon": 1e-9},
    "lrp_epsilon_gamma_box": {"epsilon": 1e-9, "low": -5.0, "high": 5.0},
    "attnlrp": {},
}
ADDED = ("bias", "beta", "moving_mean", "running_mean")


def built(name, biases=True):
    """A model, if asked for without its biases, also those of normalisations; and images."""
    if name == "module":
        import torch

        from support import torch_models

        net = torch_models.drawn(torch_models.Plain())
        for key, value in net.state_dict().items():
            if not biases and key.rpartition(".")[2] in ADDED:
                torch.zero_(value)
        return net, torch_models.images()
    model = keras_models.build(name)
    for weight in model.weights:
        if not biases and weight.name in ADDED:
            weight.assign(np.zeros(weight.shape))
    return model, keras_models.images(name)


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("name", KINDS)
def test_without_biases_relevance_is_the_score(method, name):
    if (method, name) == ("lrp_epsilon_alpha2_beta1", "fused"):
        pytest.skip("a depthwise kernel has few inputs, and an output with none against it has 2 R")
    model, x = built(name, biases=False)
    scores, maps = raw(method, model, x, UNITS, **RULES[method])
    close(maps.sum((1, 2)), scores, rtol=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_deeplift_is_a_difference_of_scores(name):
    model, x = built(name)
    behind = raw("gradients", model, np.full_like(x, 0.3), UNITS).scores
    scores, maps = raw("deeplift", model, x, UNITS, baseline=0.3)
    close(maps.sum((1, 2)), scores - behind, atol=1e-4 * abs(scores).max())


@pytest.mark.parametrize("name", KINDS)
def test_deep_shap_is_a_difference_of_mean_scores(name):
    model, x = built(name)
    references = np.random.default_rng(5).normal(size=(2, *x.shape[1:])).astype("float32")
    behind = raw("gradients", model, references, [UNITS, UNITS]).scores.mean(0)
    scores, maps = raw("deep_shap", model, x, UNITS, baselines=references)
    close(maps.sum((1, 2))[:, 0], scores[:, 0] - behind, atol=1e-4 * abs(scores).max())
