"""What covered parts are filled with: equal to slow twins, for every method that covers parts."""

import importlib
import types

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import InputError
from keras_explainable.methods.perturbation.lime import lime_rows
from keras_explainable.methods.perturbation.rise import rise_rows
from keras_explainable.numerics import random
from reference import fills
from reference import perturbation as twins
from reference.net import Net, Node
from support import keras_models
from support.calls import UNITS, module, raw
from support.compare import as_numpy, close
from support.perturbation import SEED, grid, linear, numpy_only, subject
from support.selection import BACKEND, fast, very_slow_compiled

pytestmark = very_slow_compiled


def dimmed(images, masks):
    """A user's fill, for tensors and for NumPy arrays: half of the contrast where pixels are covered."""
    return images * (1 - masks[..., None] / 2) + 0.3 * masks[..., None]


def dimmed_twin(x, mask):
    return dimmed(x, 1 - np.broadcast_to(mask, x.shape[:-1]))


def fill(name, x, seed):
    """A fill and its twin."""
    if name == "function":
        return dimmed, dimmed_twin
    return name, fills.noise(random.on_host(x.shape[1:], seed, 0, 8)) if name == "noise" else getattr(fills, name)


@pytest.fixture
def solved(monkeypatch):
    """As many steps as "linear" needs for all digits."""
    monkeypatch.setattr(module("masking.fill"), "STEPS", 100)


def draws(size):
    """What each method draws on six segments, and its parameters."""
    params, labels = grid(size)
    z, (a, b) = lime_rows(20, 6, SEED), (random.on_host((4, 6), SEED, 0, stream) for stream in (0, 1))
    cells = (2, 3)
    soft = {"repetitions": 9, "grid": cells, "p": 0.4, "seed": SEED}
    window = {"patch": (8, 9), "stride": (6, 9)}
    return {
        "occlusion": (window, list(window.values())),
        "rise": (soft, rise_rows(9, cells, size, 0.4, SEED)),
        "lime": (params | {"repetitions": 20}, [labels, z, 0.25, 1.0]),
        "kernel_shap": (params | {"repetitions": 62}, [labels]),
        "sobol": (params | {"repetitions": 4}, [labels, a, b]),
        "hsic": (params | {"repetitions": 21}, [labels, random.on_host((21, 6), SEED) < 0.5]),
    }


NAMES = ["blur", "noise", "linear", "function"]
METHODS = ["occlusion", "rise", "lime", "kernel_shap", "sobol", "hsic"]


def check(method, name, ours, theirs, size):
    params, drawn = draws(size)[method]
    given, twin = fill(name, theirs[1], params.get("seed", 0))
    expected = getattr(twins, method)(*theirs, *drawn, baseline=twin)
    close(raw(method, *ours, baseline=given, **params), expected, 1e-4)


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=fast) if name == "occlusion" else name for name in METHODS]
)
@pytest.mark.parametrize("name", NAMES)
def test_what_fills_covered_parts_equals_its_twin(method, name, solved):
    ours, theirs, size, _ = subject("functional")
    check(method, name, ours, theirs, size)


@pytest.mark.skipif(BACKEND != "torch", reason="modules are of PyTorch")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_what_fills_images_of_a_module_equals_its_twin(method, name, solved):
    import torch

    from support import torch_models

    net, x = torch_models.drawn(torch_models.Plain()), torch_models.images(3)

    def scores(images):
        with torch.no_grad():
            return net(torch.from_numpy(np.moveaxis(images, -1, 1).astype("float32"))).numpy().astype("float64")

    twin = Net((Node("out", types.SimpleNamespace(call=scores), ("input",)),), "out", "input")
    check(method, name, (net, x, UNITS), (twin, np.moveaxis(x, 1, -1).astype("float64"), UNITS), torch_models.SIZE)


@pytest.mark.parametrize("method", ["rise", "sobol"])
def test_the_seed_is_also_of_the_noise(method):
    model, x = keras_models.build("functional"), keras_models.images("functional")
    one, same, other = (raw(method, model, x, 1, baseline="noise", repetitions=3, seed=seed).maps for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


@pytest.mark.parametrize("baseline", ["linear", "noise", pytest.param(dimmed, id="function")])
def test_maps_do_not_depend_on_how_many_are_evaluated_together(baseline, x):
    params = {"repetitions": 5, "segments": 3, "baseline": baseline}
    whole = raw("lime", keras_models.build("functional"), x, 1, **params)
    close(raw("lime", keras_models.build("functional"), x, 1, at_once=4, batch_size=2, **params), whole, 1e-4)


@pytest.mark.skipif(BACKEND == "torch", reason="nothing is traced")
@pytest.mark.parametrize("baseline", NAMES)
def test_fills_are_part_of_the_users_programs(baseline, x):
    """On TensorFlow also of one for any number of images."""
    model, baseline = keras_models.build("functional"), dimmed if baseline == "function" else baseline
    params = {"patch": 8, "stride": 6, "baseline": baseline}

    def run(images):
        return ke.get("occlusion")(model, images, 1, **params)

    if BACKEND == "jax":
        jit = importlib.import_module("jax").jit(run)
    else:
        tf = importlib.import_module("tensorflow")
        jit = tf.function(run, input_signature=[tf.TensorSpec((None, *x.shape[1:]))])
    close(jit(x), raw("occlusion", model, x, 1, **params), 1e-4)


def test_a_function_of_numpy_arrays_fills_where_nothing_is_compiled(x):
    def host(images, masks):
        return dimmed(as_numpy(images), as_numpy(masks))

    model, params = keras_models.build("functional"), {"patch": 8, "stride": 6}
    eager = raw("occlusion", model, x, 1, baseline=host, run_eagerly=True, **params)
    close(eager, raw("occlusion", model, x, 1, baseline=dimmed, **params), 1e-4)


@numpy_only
@pytest.mark.parametrize("name", NAMES)
def test_shapley_values_add_up_to_the_change_of_the_score(name, x):
    """With nothing seen, "linear" is the mean colour."""
    labels = grid(x.shape[1:-1])[1]
    given, twin = fill(name, x, SEED)
    scores, maps = raw("kernel_shap", linear, x, segments=labels, baseline=given, seed=SEED, repetitions=62)
    sums = sum(maps[:, labels == j][:, 0] for j in range(6))
    close(sums, scores - linear(twin(x, np.zeros(x.shape[1:-1]))), 1e-3)


@numpy_only
@pytest.mark.parametrize("method", ["scorecam", "integrated_gradients", "guided_ig", "deeplift"])
def test_a_baseline_may_be_blurred_or_noise(method, x):
    model = keras_models.build("functional")
    noise = x.min((1, 2, 3), keepdims=True) + np.ptp(x, (1, 2, 3), keepdims=True) * random.on_host(x.shape[1:], 0, 0, 8)
    for name, images in {"blur": np.stack([fills.blurred(image) for image in x]), "noise": noise}.items():
        close(raw(method, model, x, 1, baseline=name), raw(method, model, x, 1, baseline=images), 1e-4)
    with pytest.raises(InputError, match="baseline='linear' came, and a number, a colour, images, 'mean', 'blur'"):
        raw(method, model, x, 1, baseline="linear")


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (lambda images, masks: masks, r"baseline= returned \(\d+, 20, 24\), and images of shape"),
        (lambda images: images, r"baseline=<function .* came, and a number, .* or a function of \(images, masks\)"),
        ("telea", "baseline='telea' came, and a number, a colour, images, 'mean', 'blur', 'noise', 'linear' or"),
    ],
)
def test_what_cannot_fill_is_refused(baseline, message, x):
    with pytest.raises(InputError, match=message):
        raw("occlusion", linear, x, baseline=baseline)
