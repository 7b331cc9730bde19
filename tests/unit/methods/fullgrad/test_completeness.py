"""Full-gradient decompositions of known networks add up to their scores, with random weights and statistics."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from support.compare import close
from support.selection import slow, very_slow_compiled

A = keras.applications
NETWORKS = {
    "MobileNet": (A.MobileNet, 64),
    "VGG16": (A.VGG16, 64),
    "ResNet50": (A.ResNet50, 64),
    "ResNet50V2": (A.ResNet50V2, 64),
    "DenseNet121": (A.DenseNet121, 64),
    "Xception": (A.Xception, 80),
    "InceptionV3": (A.InceptionV3, 80),  # its batch normalisation has no gamma
}
RELU6 = ("MobileNet",)


def randomized(name):
    """The network, with normalisation statistics and biases that no initialiser gives."""
    keras.utils.set_random_seed(0)
    build, side = NETWORKS[name]
    model = build(weights=None, classes=4, input_shape=(side, side, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # ReLU6 counts as a ReLU below 6 only: there its inputs are kept small.
            scale = 0.3 if name in RELU6 else 1.0
            for weight, low, high in (
                (layer.gamma, 0.5 * scale, 1.5 * scale),
                (layer.beta, -0.3, 0.3),
                (layer.moving_mean, -0.3, 0.3),
                (layer.moving_variance, 0.5, 1.5),
            ):
                if weight is not None:
                    weight.assign(rng.uniform(low, high, weight.shape))
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.uniform(-0.3, 0.3, layer.bias.shape))
    return model, rng.uniform(-1, 1, (2, side, side, 3)).astype("float32")


def cases():
    """PyTorch compiles nothing and takes seconds for them all; elsewhere one is quick enough to be tried each time."""
    return [pytest.param(name, marks=slow if name == "VGG16" else very_slow_compiled) for name in NETWORKS]


@pytest.mark.parametrize("name", cases())
def test_contributions_add_up(name):
    model, x = randomized(name)
    gradient, terms, completeness = ke.full_gradient_decomposition(model, x, [[0, 2], [3, 1]])
    print(f"{name}: relative gap {completeness.relative_gap.max():.1e}, scores {completeness.scores.ravel()}")
    assert completeness.relative_gap.max() <= 1e-4
    # The scores are the model's, before its softmax: differences of logits are those of log probabilities.
    p = np.log(keras.ops.convert_to_numpy(model(x)).astype("float64"))
    expected = [p[0, 0] - p[0, 2], p[1, 3] - p[1, 1]]
    close(completeness.scores[:, 0] - completeness.scores[:, 1], expected, atol=1e-4)
    # The sums that are told are those of the arrays, and the biases have a part in them.
    arrays = [np.einsum("nkhwc,nhwc->nk", gradient, x), *(v.sum(tuple(range(2, v.ndim))) for v in terms.values())]
    close(sum(arrays), completeness.total, rtol=1e-3, atol=1e-4)
    biases = sum(abs(v) for k, v in completeness.contributions.items() if k != "input")
    assert (biases > 0.05 * abs(completeness.scores)).all()
