"""`precision=` lowers what a model computes in, and nothing else: of the model, or for another thread."""

import threading

import keras
import numpy as np
import pytest

import keras_explainable as ke
from support import keras_models
from support.compare import close
from support.left_as_found import same, state
from support.selection import BACKEND, crossed, slow_compiled

pytestmark = slow_compiled

Y = np.array([[1, 4], [0, 0], [3, 2]])
METHODS = ["gradients", "gradcam", "full_gradients", "scorecam"]


def dtypes(model, x, **params):
    """What the convolutions of a model give while it is explained."""
    seen = set()

    plain = keras.layers.Conv2D.call

    def call(self, inputs):
        result = plain(self, inputs)
        seen.add(keras.backend.standardize_dtype(result.dtype))
        return result

    keras.layers.Conv2D.call = call
    try:
        ke.gradcam(model, x, 1, verbose=0, run_eagerly=True, **params)
    finally:
        keras.layers.Conv2D.call = plain
    return seen


@pytest.mark.parametrize(
    ("kind", "precision"), crossed(["functional", "nested_sequential", "subclassed"], ["bfloat16", "float16"])
)
def test_the_model_computes_in_it_and_is_left_as_it_was(kind, precision):
    model, x = keras_models.build(kind), keras_models.images(kind)
    before = state(model)
    assert precision in dtypes(model, x, precision=precision)
    same(before, state(model))
    assert dtypes(model, x) == {"float32"}


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_near_those_of_float32_and_are_float32(method):
    model, x = keras_models.build("functional"), keras_models.images("functional")
    exact = ke.explain(method, model, x, Y, verbose=0)
    lower = ke.explain(method, model, x, Y, verbose=0, precision="bfloat16")
    assert lower.scores.dtype == lower.maps.dtype == np.float32
    assert 1e-6 < abs(lower.scores - exact.scores).max() < 0.05 * abs(exact.scores).max()
    assert np.corrcoef(lower.maps.ravel(), exact.maps.ravel())[0, 1] > 0.98
    close(ke.explain(method, model, x, Y, verbose=0), exact, 0 if BACKEND != "torch" else 1e-6)  # compiled separately


def test_it_equals_a_model_of_that_policy():
    low, x = keras_models.build("mixed_bfloat16"), keras_models.images("mixed_bfloat16")
    plain = keras_models.build("functional")
    plain.set_weights(low.get_weights())
    ours, theirs = ke.gradcam(plain, x, Y, verbose=0, precision="bfloat16"), ke.gradcam(low, x, Y, verbose=0)
    close(ours, theirs, 0.01)


def test_another_thread_computes_as_before():
    model, x = keras_models.build("functional"), keras_models.images("functional")
    expected = model(x, training=False)
    inside, done, results = threading.Event(), threading.Event(), []

    def score(outputs):
        inside.set()
        assert done.wait(60)
        return outputs

    def work():
        results.append(ke.gradients(model, x, 1, verbose=0, run_eagerly=True, precision="bfloat16", score=score))

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(60)
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (model(x, training=False), expected)))
    done.set()
    thread.join()
    assert len(results) == 1


def test_unknown_precisions_and_decompositions_are_refused():
    model, x = keras_models.build("functional"), keras_models.images("functional")
    with pytest.raises(ke.errors.InputError, match="bfloat16"):
        ke.gradcam(model, x, 1, precision="int8")
    with pytest.raises(ke.errors.InputError, match="add up"):
        ke.full_gradient_decomposition(model, x, 1, precision="bfloat16")


@pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
def test_modules_compute_in_it():
    import torch

    from support import torch_models as nets

    module, x = nets.drawn(nets.Sized(2)), nets.images(channels=2)
    seen = []
    first = next(m for m in module.modules() if isinstance(m, torch.nn.Conv2d))
    handle = first.register_forward_hook(lambda m, args, out: seen.append(out.dtype))
    exact = ke.gradients(module, x, 1, verbose=0)
    count = len(seen)
    lower = ke.gradients(module, x, 1, verbose=0, precision="bfloat16")
    handle.remove()
    assert seen[count - 1] == torch.float32 and seen[-1] == torch.bfloat16
    assert np.corrcoef(lower.maps.ravel(), exact.maps.ravel())[0, 1] > 0.98
    assert all(p.dtype == torch.float32 and p.grad is None for p in module.parameters())


@pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
@pytest.mark.parametrize("view", [False, True])
def test_modules_compute_in_the_fast_layout_where_they_can(view):
    import torch
    from torch import nn

    layouts = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8 * 10 * 12, 5)

        def forward(self, x):
            layouts.append(x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous())
            x = torch.relu(self.conv(x))
            return self.head(x.view(len(x), -1) if view else x.flatten(1))

    torch.manual_seed(0)
    net, x = Net().eval(), np.random.default_rng(0).normal(size=(2, 3, 12, 14)).astype("float32")
    exact = ke.explain("gradients", net, x, [1, 2], reduce=None, verbose=0)
    assert not any(layouts)
    lower = ke.explain("gradients", net, x, [1, 2], reduce=None, verbose=0, precision="bfloat16")
    assert layouts[-1] != view  # `view` cannot read channels that come last
    assert 0 < abs(lower.maps - exact.maps).max() < 0.05 * abs(exact.maps).max()


def test_what_was_measured_in_a_lower_precision_changes_no_later_map():
    """Where a layer's cells lie is measured once. A first call in bfloat16 does not decide it for later ones."""
    x = keras_models.images("functional", 2)
    maps = []
    for first in (None, "bfloat16"):
        model = keras_models.build("functional")
        ke.explain("gradcam", model, x, [1, 2], precision=first, verbose=0)
        found = ke.explain("gradcam", model, x, [1, 2], verbose=0)
        maps.append(found.maps)
        assert "placement" not in found.about or found.about["placement"]
    np.testing.assert_array_equal(*maps)


@pytest.mark.skipif(BACKEND != "torch", reason="modules are of PyTorch")
def test_what_was_measured_of_a_module_in_a_lower_precision_changes_no_later_map():
    from support import torch_models

    x, found = torch_models.images(2), []
    for first in (None, "bfloat16"):
        module = torch_models.drawn(torch_models.Plain())
        ke.explain("gradcam", module, x, [0, 1], precision=first, verbose=0)
        found.append(ke.explain("gradcam", module, x, [0, 1], verbose=0))
    assert found[0].about["placement"] == found[1].about["placement"]
    np.testing.assert_array_equal(found[0].maps, found[1].maps)
