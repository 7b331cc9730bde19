"""What holds for every method on Keras models holds on PyTorch modules."""

import keras
import numpy as np
import pytest

import keras_explainable as ke

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402

from support import torch_models as nets  # noqa: E402
from support.calls import UNITS, explain, subject  # noqa: E402
from support.compare import close  # noqa: E402
from support.selection import REPRESENTATIVE  # noqa: E402

pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="modules need Keras on PyTorch"),
    pytest.mark.filterwarnings("ignore:.*the same everywhere"),
]
METHODS = sorted(name for name in REPRESENTATIVE if subject(name) == "functional")  # tests/laws tries all


@pytest.fixture(scope="module")
def module():
    return nets.drawn(nets.Sized(2))  # with a linear head behind a pooling, so that CAM is possible too


@pytest.fixture
def x():
    return nets.images(channels=2)


@pytest.mark.parametrize("method", METHODS)
def test_an_image_is_explained_by_itself(method, module, x):
    whole = explain(method, module, x)
    assert whole.scores.shape == (3, 2) and whole.maps.shape == (3, *nets.SIZE, 2)
    assert np.isfinite(whole.maps).all()
    close(explain(method, module, x, batch_size=2), whole)
    close(explain(method, module, x[1:2], UNITS[1:2]), [part[1:2] for part in whole])


@pytest.mark.parametrize("method", METHODS)
def test_no_units_are_all_units(method, module, x):
    every, some = explain(method, module, x, None), explain(method, module, x)
    close(some.scores, np.take_along_axis(every.scores, UNITS, 1))
    close(some.maps, np.take_along_axis(every.maps, UNITS[:, None, None], 3))
    if method != "smoothgrad":  # whose scores are means over noisy images
        close(every.scores, module(torch.as_tensor(x)).detach(), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_permuted_classes_permute_maps(method, module, x):
    order = [3, 1, 4, 0, 2]
    permuted = nets.Sized(2)
    permuted.load_state_dict(module.state_dict())
    with torch.no_grad():
        permuted.fc.weight.copy_(module.fc.weight[order])
        permuted.fc.bias.copy_(module.fc.bias[order])
    close(explain(method, permuted, x, None).maps, explain(method, module, x, None).maps[..., order])


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_maps(method, module, x):
    once, again = (explain(method, module, x, seed=3) for _ in range(2))
    np.testing.assert_array_equal(once.maps, again.maps)


@pytest.mark.parametrize("method", METHODS)
def test_layers_that_do_nothing_change_nothing(method, module, x):
    around = nn.Sequential(nn.Identity(), nn.Dropout(0.3), module, nn.Identity()).train()
    close(explain(method, around, x), explain(method, module, x))


def test_test_time_augmentation(x):
    module = nets.drawn(nets.Sized(2))
    tta = ke.methods.meta.tta(ke.methods.cams.gradcam, scales=(), hflip=True)
    found = np.asarray(tta(module, x, UNITS)[1])
    plain = ke.explain("gradcam", module, x, UNITS, postprocessing=None, verbose=0).maps
    mirrored = ke.explain("gradcam", module, x[..., ::-1].copy(), UNITS, postprocessing=None, verbose=0).maps
    close(found, (plain + mirrored[:, :, ::-1]) / 2)
