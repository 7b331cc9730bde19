"""Programs of users' kind on which maps were wrong without a word: each is right, or refused with a sentence."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import InputError
from support.calls import raw
from support.compare import close
from support.selection import BACKEND

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
SETTINGS = {"probabilities": False}


def settled():
    return SETTINGS["probabilities"]


def net(end=lambda z: z, front=lambda x: x, channels=3):
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(channels, 6, 3, padding=1), nn.Linear(6, 4)

        def forward(self, x):
            return end(self.head(self.conv(front(x)).relu().mean((2, 3))))

    return Net().eval()


@pytest.fixture
def x():
    import torch

    return torch.from_numpy(np.random.default_rng(0).random((2, 3, 40, 40)).astype("float32"))


ENDS = {
    "in place": lambda z: z.sigmoid_(),
    "a function in place": lambda z: __import__("torch").sigmoid_(z),
    "hardsigmoid in place": lambda z: __import__("torch").nn.functional.hardsigmoid(z, inplace=True),
    "log of a sum": lambda z: (z.softmax(1) + 1e-8).log(),
    "exponential": lambda z: z.log_softmax(1).exp(),
    "softmax of log softmax": lambda z: z.log_softmax(1).softmax(1),
    "without NaN": lambda z: z.softmax(1).nan_to_num(),
}


@pytest.mark.parametrize("method", ["gradients", "gradcam", "occlusion"])
@pytest.mark.parametrize("end", ENDS)
def test_scores_are_before_what_only_orders_them(end, method, x):
    close(raw(method, net(ENDS[end]), x, 1), raw(method, net(), x, 1))


@pytest.mark.parametrize("method", ["gradients", "gradcam", "integrated_gradients", "full_gradients"])
def test_a_flag_in_a_dictionary_of_the_file_is_seen(method, x):
    def end(z):
        return z.softmax(1) if settled() else z * 1

    module, plain = net(end), net()
    raw(method, module, x, 1)
    try:
        SETTINGS["probabilities"] = True
        ours = raw(method, module, x, 1)
        close(ours, raw(method, plain, x, 1))
        assert ours.about["score"] == "input of softmax"
    finally:
        SETTINGS["probabilities"] = False


def spot():
    import torch

    image = torch.zeros(1, 1, 40, 40)
    image[:, :, 8:13, 28:33] = 1
    return image


def moved(name):
    import torch
    from torch.nn import functional as F

    return {
        "flip": lambda x: x.flip(3),
        "zoom": lambda x: F.interpolate(x[:, :, :20, 20:], scale_factor=2.0, mode="bilinear"),
        "padded and cropped": lambda x: F.pad(x, (0, 0, 10, 0))[:, :, :40],
        "transposed": lambda x: x.transpose(2, 3),
        "turned": lambda x: torch.rot90(x, 1, (2, 3)),
        "rolled": lambda x: x.roll(8, 2),
        "mirrored": lambda x: F.pad(x, (12, 12, 12, 12), mode="reflect"),
    }[name]


def positive(front):
    import torch

    module = net(front=front, channels=1)
    with torch.no_grad():
        module.conv.weight.fill_(1 / 9)
        module.conv.bias.zero_()
        module.head.weight.fill_(1)
    return module


@pytest.mark.parametrize("name", ["flip", "zoom", "padded and cropped"])
@pytest.mark.parametrize("method", ["gradcam", "full_gradients", "scorecam"])
def test_a_map_of_the_images_size_lies_where_the_model_looks_too(method, name):
    found = ke.explain(method, positive(moved(name)), spot(), 0, verbose=0).maps[0, ..., 0]
    centre = [(found * np.indices(found.shape)[axis]).sum() / found.sum() for axis in (0, 1)]
    close(centre, [10, 30], atol=0.2)


@pytest.mark.parametrize("name", ["transposed", "turned", "rolled", "mirrored"])
def test_what_no_window_can_say_is_refused(name):
    with pytest.raises(InputError, match="moves the pixels of its images.*resizing=False"):
        ke.gradcam(positive(moved(name)), spot(), 0, verbose=0)
    assert raw("gradcam", positive(moved(name)), spot(), 0).maps.any()
    found = raw("input_x_gradient", positive(moved(name)), spot(), 0).maps[0, ..., 0]
    centre = [(found * np.indices(found.shape)[axis]).sum() / found.sum() for axis in (0, 1)]
    close(centre, [10, 30], atol=0.2)


def test_a_region_of_an_output_without_channels():
    import torch
    from torch import nn

    class Mask(nn.Module):
        def __init__(self, squeeze):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b, self.squeeze = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 1, 1), squeeze

        def forward(self, x):
            z = self.b(self.a(x).relu())
            return z.squeeze(1) if self.squeeze else z

    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 12, 14)).astype("float32"))
    mask = np.zeros((12, 14))
    mask[3:7, 2:9] = 1
    region = ke.scores.region
    for score, whole in (
        (region(None, 0, axis=1), region(None, 0, axis=1)),
        (region(None, 0, axis=-1), region(None, 0, axis=1)),
        (region(mask, 0), region(mask, 0, axis=1)),
    ):
        ours = raw("gradcam", Mask(True).eval(), x, score=score, layer="a")
        close(ours, raw("gradcam", Mask(False).eval(), x, score=whole, layer="a"))
        assert abs(ours.scores).min() > 1e-3


def test_images_of_integers_that_mean_something_else_are_refused(x):
    import torch

    whole = (x * 255).to(torch.uint8)
    scaling = net(front=lambda x: x.float() / 255 if x.dtype == torch.uint8 else x)
    for images in (whole, whole.numpy()):
        for method in ("gradients", "gradcam", "occlusion"):
            with pytest.raises(InputError, match="uint8 came, and this module treats them differently"):
                raw(method, scaling, images, 1)
    close(raw("gradients", net(front=lambda x: x.float()), whole, 1), raw("gradients", net(), whole.float(), 1))
    close(raw("gradients", net(), whole, 1), raw("gradients", net(), whole.float(), 1))


def test_what_a_module_does_not_take_is_named(x):
    loader = [{"image": x, "label": np.array([1, 2])}]
    with pytest.raises(InputError, match=r"could not take 2 inputs \('image', 'label'\).*takes \(x\): name the inputs"):
        raw("gradcam", net(), loader[0], 1, leaf="image")
