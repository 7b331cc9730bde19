"""Every method equals its slow NumPy twin, on every kind of model."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.numerics import random
from reference import cams, fullgrad, gradient, meta
from support import keras_models
from support.calls import subject
from support.compare import close
from support.selection import fast, first_fast, slow, slow_compiled, very_slow_compiled
from support.to_reference import as_reference
from support.twins import TWINS

MIXED = {"mixed_float16": 0.05, "mixed_bfloat16": 0.2}
EXACT = [name for name in [*keras_models.KINDS, *keras_models.EXTRAS] if name not in {*MIXED, "transformer"}]
UNITS = np.array([[1, 4], [0, 0], [3, 2]])

# Tested by themselves, because the twin needs to be given what the method draws or finds: all whose cost depends on how
# often they repeat.
GIVEN = {name for name in TWINS if ke.registry.METHODS[name].cost.letters & {"n", "windows", "segments"}}


def pairs():
    """Every method on every kind that it is for; of what must be compiled, a part counts as slow."""
    for method in sorted(TWINS.keys() - GIVEN):
        later = slow if method in ("gradients", "full_gradients", "gradcam") else very_slow_compiled
        for name in EXACT if subject(method) == "functional" else [subject(method)]:
            marks = fast if name == subject(method) else later
            yield pytest.param(method, name, id=f"{method}-{name}", marks=marks)


def units(name):
    return UNITS * (name != "one_unit")


def explained(method, name, **params):
    model, x = keras_models.build_once(name), keras_models.images(name)
    return ke.explain(method, model, x, units(name), verbose=0, resizing=False, placement="stretch", **params)


def twin(method, name, **params):
    x = keras_models.channels_last(name, keras_models.images(name).astype("float64"))
    return method(as_reference(keras_models.build_once(name)), x, units(name), **params)


def test_every_method_has_a_twin_and_a_shortcut():
    assert set(TWINS) == set(ke.registry.METHODS)
    for name in TWINS:
        assert getattr(ke, name).__name__ == name
        assert name in dir(ke)


@pytest.mark.filterwarnings("ignore:.*the same everywhere")
@pytest.mark.parametrize(("method", "name"), list(pairs()))
def test_method_equals_its_twin(method, name):
    if method == "cam" and name == "flatten":
        pytest.skip("no head with one weight per channel: see test_cam_needs_a_pooled_head")
    close(explained(method, name), twin(TWINS[method], name), 1e-4)


@slow_compiled
@pytest.mark.parametrize("method", ["gradients", "full_gradients", "gradcam"])
@pytest.mark.parametrize("name", MIXED)
def test_mixed_precision_is_near_the_twin(method, name):
    """As a whole, and nearly everywhere: on processors that add up in float16, too, some ReLU may switch."""
    for a, b in zip(explained(method, name), twin(TWINS[method], name), strict=True):
        assert a.shape == b.shape
        assert np.linalg.norm(a - b) <= MIXED[name] * np.linalg.norm(b)
        assert (abs(a - b) > MIXED[name] * abs(b).max()).mean() <= 0.003


@slow_compiled
@pytest.mark.parametrize("reduce", ["max", "sum", None])
@pytest.mark.parametrize("name", ["functional", "channels_first"])
def test_gradients_reduce_channels(name, reduce):
    ours, theirs = explained("gradients", name, reduce=reduce), twin(gradient.gradients, name, reduce=reduce)
    close(ours, theirs, 1e-4)


@slow_compiled
@pytest.mark.parametrize("name", ["functional", "fused", "shared"])
def test_full_gradients_mean_aggregation(name):
    close(
        explained("full_gradients", name, aggregation="mean"),
        twin(fullgrad.full_gradients, name, aggregation="mean"),
        1e-4,
    )


@slow_compiled
def test_full_gradients_takes_any_aggregation():
    def squares(v):
        return keras.ops.sum(v**2, axis=-1)

    close(
        explained("full_gradients", "functional", aggregation=squares),
        twin(fullgrad.full_gradients, "functional", aggregation=lambda v: (v**2).sum(-1)),
        1e-4,
    )


@slow_compiled
@pytest.mark.parametrize("kind", ["range", "absolute"])
@pytest.mark.parametrize(
    ("method", "name"),
    [
        pytest.param("smoothgrad", "functional", marks=fast),
        pytest.param("smooth_full_gradients", "functional", marks=fast),
        ("smoothgrad", "nested_sequential"),
        ("smooth_full_gradients", "nested_sequential"),
    ],
)
def test_means_over_noisy_copies_equal_their_twins(method, name, kind):
    x = keras_models.images(name).astype("float64")
    scale = meta.ranges(x) if kind == "range" else 1.0
    draws = [keras.ops.convert_to_numpy(random.normal((1, *x.shape[1:]), 7, i)).astype("float64") for i in range(4)]
    theirs = TWINS[method](
        as_reference(keras_models.build_once(name)), x, units(name), [0.2 * scale * d for d in draws]
    )
    ours = explained(method, name, repetitions=4, noise=0.2, noise_kind=kind, seed=7)
    close(ours, theirs, 1e-4)


@slow_compiled
def test_without_noise_smooth_full_gradients_are_full_gradients():
    one = explained("smooth_full_gradients", "fused", repetitions=1, noise=0.0)
    close(one, explained("full_gradients", "fused"), 1e-4)


@slow_compiled
@pytest.mark.parametrize("method", first_fast("gradients", "gradcam"))
def test_smooth_averages_any_method(method):
    name = "functional"
    x = keras_models.images(name).astype("float64")
    draws = [keras.ops.convert_to_numpy(random.normal((1, *x.shape[1:]), 0, i)).astype("float64") for i in range(3)]
    smoothed = ke.methods.meta.smooth(ke.get(method), repetitions=3, noise=0.3)
    theirs = meta.smooth(TWINS[method], [0.3 * d for d in draws])(
        as_reference(keras_models.build_once(name)), x, units(name)
    )
    close(explained(smoothed, name), theirs, 1e-4)


@slow_compiled
@pytest.mark.parametrize(
    ("name", "hflip"),
    [
        pytest.param("functional", True, marks=fast),
        ("functional", False),
        ("channels_first", True),
        ("channels_first", False),
    ],
)
def test_tta_equals_its_twin(name, hflip):
    scales = [0.5, 1.0, 1.5]
    ours = explained(ke.methods.meta.tta(ke.methods.cams.gradcam, scales, hflip), name)
    close(ours, twin(meta.tta(cams.gradcam, scales, hflip), name), 1e-4)


@slow_compiled
@pytest.mark.parametrize("name", first_fast(*EXACT))
def test_decomposition_equals_its_twin(name):
    model, x, y = keras_models.build_once(name), keras_models.images(name), units(name)
    ours = ke.full_gradient_decomposition(model, x, y)
    net, x64 = as_reference(keras_models.build_once(name)), keras_models.channels_last(name, x.astype("float64"))
    scores, g, terms = fullgrad.decomposition(net, x64, y)
    close((ours.completeness.scores, ours.input_gradient), (scores, g), 1e-4)
    theirs = sorted(float(abs(t).sum()) for t in terms.values())
    close(sorted(float(abs(t).sum()) for t in ours.bias_gradients.values()), theirs, rtol=1e-4, atol=1e-6)
    total = sum(c for c in ours.completeness.contributions.values())
    close(ours.completeness.total, total, rtol=1e-5, atol=1e-5)
    gap = abs(scores - sum(fullgrad.contributions(net, x64, y).values()))
    close(ours.completeness.absolute_gap, gap, atol=1e-4 * abs(scores).max())
    assert (ours.completeness.relative_gap.max() < 1e-4) == (name != "clipped")


def test_cam_needs_a_pooled_head():
    with pytest.raises(ke.errors.LayerError, match="Use `gradcam`"):
        explained("cam", "flatten")
