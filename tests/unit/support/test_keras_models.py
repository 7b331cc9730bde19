"""The tiny models are what their names say, equal on every backend, and equal to their NumPy twins."""

import keras
import numpy as np
import pytest

from reference import net as n
from reference.fullgrad import contributions
from support import keras_models
from support.compare import close
from support.to_reference import as_reference

MIXED = ["mixed_float16", "mixed_bfloat16"]
ALL = [*keras_models.KINDS, *keras_models.EXTRAS]


def run(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


@pytest.mark.parametrize("name", [name for name in ALL if name not in MIXED])
def test_twin_has_the_outputs_of_the_model(name):
    model, x = keras_models.build(name), keras_models.images(name)
    net = as_reference(keras_models.build(name))
    values = n.forward(net, keras_models.channels_last(name, x))
    close(values[net.nodes[-1].name], run(model, x), rtol=1e-5, atol=1e-5)
    assert values[net.score].std() > 0.02  # images and units differ


@pytest.mark.parametrize("name", MIXED)
def test_mixed_precision_is_near_its_twin(name):
    model, x = keras_models.build(name), keras_models.images(name)
    assert keras.backend.standardize_dtype(model(x).dtype) == name.removeprefix("mixed_")
    assert {w.dtype for w in model.weights} == {"float32"}
    expected = n.forward(as_reference(model), x)["logits"]
    close(run(model, x).astype("float64"), expected, atol=0.05 * abs(expected).max())


@pytest.mark.parametrize("name", [name for name in ALL if name not in {*MIXED, "transformer"}])
def test_contributions_add_up_to_the_scores(name):
    net, x = as_reference(keras_models.build(name)), keras_models.channels_last(name, keras_models.images(name, 2))
    scores, total = n.forward(net, x)[net.score], sum(contributions(net, x).values())
    if name == "clipped":
        assert abs(total - scores).max() > 0.1
    else:
        close(total, scores, rtol=1e-9)


def test_weights_are_the_same_everywhere():
    model, lazy = keras_models.build("functional"), keras_models.build("lazy")
    assert not lazy.built and not lazy.weights
    lazy(keras_models.images("lazy"))
    sums = [sum(abs(keras.ops.convert_to_numpy(w)).sum() for w in m.weights) for m in (model, lazy)]
    close(sums, [318.9553, 180.87575], rtol=1e-6)
    x, other = keras_models.images("functional"), keras_models.build("functional", seed=1)
    assert not np.allclose(run(model, x), run(other, x), atol=0.1)


def test_kinds():
    assert keras_models.build("functional").trainable_weights and not keras_models.build("frozen").trainable_weights
    assert [node.name for node in as_reference(keras_models.build("shared")).nodes if "twice" in node.name] == [
        "twice@linear",
        "twice",
        "twice:1@linear",
        "twice:1",
    ]
    assert as_reference(keras_models.build("nested_sequential")).signal == "backbone/conv2"
    assert as_reference(keras_models.build("nested_sequential")).score == "predictions@linear"
    assert as_reference(keras_models.build("sequential")).score == "logits"
    assert as_reference(keras_models.build("subclassed")).signal == "rectify"
