"""Metrics of randomisation: equal to their twins, on copies with the same random weights, and the model as it was."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.metrics import other_weights
from keras_explainable.numerics.random import on_host
from reference import metrics_randomisation as twins
from support import keras_models, torch_models
from support.compare import close
from support.left_as_found import same, state
from support.selection import BACKEND, fast_on_torch, slow_compiled

Y = np.array([0, 3])
X = keras_models.images("functional", 2)
LAYERS = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("logits",))  # a kernel and its normalisation


def model():
    return keras_models.build_once("functional")


def maps_of(method, changed, y=Y, **params):
    return ke.explain(method, changed, X, y, verbose=0, **params).maps


def weights(network):
    return [[np.asarray(w) for w in network.get_layer(layer).get_weights()] for layer, *_ in LAYERS]


def with_weights(layers):
    """A model of its own with these weights in its layers with kernels."""
    other = keras_models.build("functional")
    for (name, *_), values in zip(LAYERS, layers, strict=True):
        other.get_layer(name).set_weights(values)
    return other


def permuted(network, seed=0):
    number, found = 0, []
    for layer in weights(network):
        found.append([])
        for array in layer:
            found[-1].append(twins.permuted(array, on_host((array.size,), seed, number, 41)))
            number += 1
    return found


def test_mprt_equals_its_twin():
    expected = []
    own = maps_of("input_x_gradient", model())
    for layers in twins.stages(weights(model()), permuted(model()), 3):
        other = maps_of("input_x_gradient", with_weights(layers))
        expected.append([[twins.correlation(own[b], other[b])] for b in range(2)])
    found = ke.metrics.mprt(model(), X, Y, explain="input_x_gradient", stages=3)
    close(found.curves["correlation"], np.stack(expected, -1), 1e-4)
    close(found.values, np.mean(expected, axis=0), 1e-4)


def test_emprt_and_smprt_equal_their_twins():
    random = with_weights(permuted(model()))
    own, other = maps_of("gradcam", model()), maps_of("gradcam", random)
    expected = [[twins.entropy(other[b], 20) / twins.entropy(own[b], 20) - 1] for b in range(2)]
    close(ke.metrics.emprt(model(), X, Y, explain="gradcam", bins=20).values, np.array(expected), 5e-2)
    smooth = ke.methods.meta.smooth("gradients", 3, 0.2, "range")
    own, other = maps_of(smooth, model()), maps_of(smooth, random)
    expected = [[twins.correlation(own[b], other[b])] for b in range(2)]
    found = ke.metrics.smprt(model(), X, Y, explain="gradients", repetitions=3, noise=0.2, stages=1)
    close(found.values, np.array(expected), 1e-4)


def test_random_logit_is_the_correlation_with_another_units_map():
    u = on_host((5,), 0, 0, 51)
    others = np.array([(k + 1 + int(u[k] * 4)) % 5 for k in range(5)])
    y = np.array([[0, 2], [3, 1]])
    assert (others != np.arange(5)).all()
    own, other = maps_of("gradcam", model(), y), maps_of("gradcam", model(), others[y])
    expected = np.array([[twins.correlation(own[b, ..., k], other[b, ..., k]) for k in range(2)] for b in range(2)])
    close(ke.metrics.random_logit(model(), X, y, explain="gradcam").values, expected, 1e-4)
    every = ke.metrics.random_logit(model(), X, explain="gradcam").values
    close(np.take_along_axis(every, y, axis=1), expected, atol=1e-4)
    one = keras_models.build_once("one_unit")
    assert np.isnan(ke.metrics.random_logit(one, X, 0, explain="gradcam").values).all()


def edges(network, inputs, indices=None):
    """Maps of the image alone."""
    scores, _ = ke.methods.gradient.gradients(network, inputs, indices)
    channels = inputs if inputs.shape[-1] == 3 else keras.ops.moveaxis(inputs, 1, -1)
    strength = keras.ops.abs(channels[:, 1:, ..., :1] - channels[:, :-1, ..., :1])
    strength = keras.ops.pad(strength, [(0, 0), (0, 1), *[(0, 0)] * (len(strength.shape) - 2)])
    return scores, keras.ops.repeat(strength, scores.shape[1], axis=-1)


@fast_on_torch
@pytest.mark.parametrize("metric", ["mprt", "smprt", "random_logit"])
def test_what_ignores_the_model_scores_exactly_one(metric):
    few = {"repetitions": 2} if metric == "smprt" else {}
    assert (getattr(ke.metrics, metric)(model(), X, Y, explain=edges, **few).values == 1).all()
    assert (ke.metrics.emprt(model(), X, Y, explain=edges).values == 0).all()


@pytest.mark.parametrize("how", other_weights.HOW)
def test_random_weights_are_drawn_as_documented(how):
    value = np.random.default_rng(0).normal(0.3, 2, (3, 3, 20, 30)).astype("float32")
    found = other_weights.drawn(value, how, 0, 1)
    assert found.shape == value.shape and not np.allclose(found, value)
    assert np.array_equal(found, other_weights.drawn(value, how, 0, 1))
    assert not np.array_equal(found, other_weights.drawn(value, how, 1, 1))
    assert not np.array_equal(found, other_weights.drawn(value, how, 0, 2))
    assert abs(np.corrcoef(found.ravel(), value.ravel())[0, 1]) < 0.05
    if how == "permute":
        np.testing.assert_array_equal(np.sort(found.ravel()), np.sort(value.ravel()))
        assert (found[0, 0] != value[0, 0]).mean() > 0.99  # elements leave their rows
    elif how == "normal":
        assert found.mean() == pytest.approx(value.mean(), abs=0.1) and found.std() == pytest.approx(
            value.std(), rel=0.03
        )
    else:
        limit = np.sqrt(6 / (9 * 50))
        assert abs(found).max() <= limit and found.std() == pytest.approx(limit / np.sqrt(3), rel=0.03)
        assert not other_weights.drawn(value[0, 0, 0], how, 0, 1).any()


RARER = [pytest.param(kind, marks=slow_compiled) for kind in ("nested_functional", "transformer", "frozen")]


@slow_compiled
@pytest.mark.parametrize("kind", ["functional", "subclassed", *RARER])
def test_the_model_is_left_as_it_was(kind):
    network, x = keras_models.build(kind), keras_models.images(kind, 2)
    before = state(network)
    first = ke.metrics.emprt(network, x, Y, explain="gradcam")
    same(before, state(network))
    with pytest.raises(ZeroDivisionError):
        ke.metrics.mprt(network, x, Y, explain=breaks_with_other_weights(network))
    same(before, state(network))
    np.testing.assert_array_equal(ke.metrics.emprt(network, x, Y, explain="gradcam").values, first.values)


def breaks_with_other_weights(network):
    """A method that fails when its weights are random, outside of any compiled program."""
    own, calls = ke.methods.gradient.gradients, []

    @ke.registry.with_traits(repeats=True)
    def method(given, inputs, indices=None):
        calls.append(given)
        if len(calls) > 2:
            raise ZeroDivisionError
        return own(given, inputs, indices)

    return method


@slow_compiled
@pytest.mark.parametrize("method", ["gradcam", "lrp_epsilon", ("smoothgrad", {"repetitions": 2}), "occlusion"])
def test_programs_are_used_again_with_other_weights(method):
    """Compiled programs take the random weights: the last stage is the map of a model that has these."""
    name, params = method if isinstance(method, tuple) else (method, {})
    found = ke.metrics.mprt(model(), X, Y, explain=method, stages=1).values
    own, other = (maps_of(name, m, **params) for m in (model(), with_weights(permuted(model()))))
    close(found, np.array([[twins.correlation(own[b], other[b])] for b in range(2)]), 1e-3)


@fast_on_torch
def test_functions_have_no_weights_and_bad_options_are_refused():
    for call in (
        lambda: ke.metrics.mprt(lambda x: x.sum(axis=(1, 2)), X, 0, explain="occlusion"),
        lambda: ke.evaluate(lambda x: x.sum(axis=(1, 2)), X, 0, ["occlusion"], ["emprt"], verbose=0),
    ):
        with pytest.raises(ke.errors.InputError, match="needs weights"):
            call()
    for given, match in (
        ({"how": "shuffle"}, "how='shuffle'"),
        ({"stages": 0}, "stages=0"),
        ({"stages": 1.5}, "stages"),
    ):
        with pytest.raises(ke.errors.InputError, match=match):
            ke.metrics.mprt(model(), X, Y, explain="gradcam", **given)
    with pytest.raises(ke.errors.InputError, match="bins=1"):
        ke.metrics.emprt(model(), X, Y, explain="gradcam", bins=1)


def test_random_weights_follow_the_models():
    """What is kept of a model is drawn again when its weights change."""
    network = keras_models.build("functional")
    first = ke.metrics.emprt(network, X, Y, explain="gradients").values
    network.get_layer("conv1").kernel.assign(2 * np.asarray(network.get_layer("conv1").get_weights()[0]))
    second = ke.metrics.emprt(network, X, Y, explain="gradients").values
    assert abs(first - second).max() > 0
    assert np.array_equal(second, ke.metrics.emprt(network, X, Y, explain="gradients").values)


@pytest.mark.parametrize(
    ("metric", "params", "values"),
    [
        ("mprt", {}, [0.29368, 0.08581]),
        ("emprt", {}, [0.02621, -0.00834]),
        ("random_logit", {}, [0.11607, 0.02734]),
        ("max_sensitivity", {}, [0.07516, 0.14264]),
        ("local_lipschitz", {}, [0.01744, 0.01556]),
        ("relative_stability", {"of": "signal"}, [0.95076, 2.04455]),
    ],
)
def test_values_are_equal_on_every_backend(metric, params, values):
    found = getattr(ke.metrics, metric)(model(), X, Y, explain="gradcam", **params)
    close(found.values[:, 0], values, atol=1e-4)


@slow_compiled
def test_models_of_several_inputs_and_scores():
    image, age = keras.Input((8, 8, 3), name="image"), keras.Input((4,), name="age")
    h = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    network = keras.Model([image, age], keras.layers.Dense(3)(keras.layers.Concatenate()([h, age])))
    keras_models.randomize(network)
    rng = np.random.default_rng(0)
    x = {"image": rng.normal(size=(3, 8, 8, 3)).astype("float32"), "age": rng.normal(size=(3, 4)).astype("float32")}
    for metric in ("mprt", "random_logit", "max_sensitivity"):
        given = {"explain": "input_x_gradient", "leaf": "image"}
        whole = getattr(ke.metrics, metric)(network, x, [0, 1, 2], **given).values
        parts = getattr(ke.metrics, metric)(network, x, [0, 1, 2], **given, batch_size=2).values
        assert np.isfinite(whole).all()
        close(parts, whole, atol=1e-4)
    margin = {"score": ke.scores.margin(1, 3), "explain": "gradcam"}
    assert np.isfinite(ke.metrics.mprt(model(), X, **margin).values).all()
    assert np.isnan(ke.metrics.random_logit(model(), X, **margin).values).all()  # of one column


torch_only = pytest.mark.skipif(BACKEND != "torch", reason="modules are of PyTorch")


@torch_only
def test_modules_and_keras_models_get_the_same_random_weights():
    import torch
    from torch import nn

    layers = [
        keras.Input((9, 8, 3)),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
    ]
    network = keras_models.randomize(keras.Sequential([*layers, keras.layers.Dense(3)]))
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    kernel, bias, head, shift = network.get_weights()
    with torch.no_grad():
        for own, value in zip(module.parameters(), (kernel.transpose(3, 2, 0, 1), bias, head.T, shift), strict=True):
            own.copy_(torch.from_numpy(value))
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype("float32")
    for how in other_weights.HOW:
        keras_found = ke.metrics.mprt(network, x, [1, 2], explain="input_x_gradient", how=how)
        found = ke.metrics.mprt(module, np.moveaxis(x, -1, 1), [1, 2], explain="input_x_gradient", how=how)
        close(found.curves["correlation"], keras_found.curves["correlation"], 1e-4)


@torch_only
@pytest.mark.parametrize("kind", ["Plain", "Twice", "WithNormAct", "Tokens"])
def test_modules_are_left_as_they_were(kind):
    module, x = torch_models.drawn(getattr(torch_models, kind)()), torch_models.images(2)
    before = state(module)
    first = ke.metrics.mprt(module, x, Y, explain="input_x_gradient")
    same(before, state(module))
    with pytest.raises(ZeroDivisionError):
        ke.metrics.mprt(module, x, Y, explain=breaks_with_other_weights(module))
    same(before, state(module))
    assert (first.values < 1).all()


@torch_only
def test_a_module_that_cannot_be_copied_is_refused():
    class Alone(torch_models.Plain):
        def __deepcopy__(self, memo):
            raise TypeError("one of a kind")

    module = torch_models.drawn(Alone())
    with pytest.raises(ke.errors.InputError, match=r"Alone cannot be copied.*one of a kind"):
        ke.metrics.mprt(module, torch_models.images(2), Y, explain="gradients")


@torch_only
def test_weights_that_are_computed_are_random_too():
    import torch
    from torch.nn.utils import parametrizations, weight_norm

    for norm in (weight_norm, parametrizations.weight_norm):
        module = torch_models.drawn(torch_models.Plain())
        first = next(m for m in module.modules() if isinstance(m, torch.nn.Conv2d))
        norm(first)
        assert (ke.metrics.mprt(module, torch_models.images(2), Y, explain="input_x_gradient").values < 0.9).all()
