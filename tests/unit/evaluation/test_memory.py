"""The peak memory of an evaluation: that of a batch, however many images, methods and repetitions there are."""

import re
from pathlib import Path

import pytest

import keras_explainable as ke
from support.selection import BACKEND, very_slow_compiled

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
pytestmark = [
    very_slow_compiled,
    pytest.mark.skipif(BACKEND != "torch" or not RESET.exists(), reason="measured on Linux, with PyTorch's allocator"),
]
FEW, MANY = 8, 24
MORE = 50  # MB. The masked copies of one image are 14 MB: those of 16 more images would be 224
MAPS = ("gradcam", "gradients")
METRICS = ("srg", "faithfulness_correlation")


def peak(methods, images):
    """The most memory in MB, beyond what is in use before, of an evaluation of so many images."""
    x, _, _ = ke.demo.load_scenes(images, seed=1)
    module, inputs = ke.demo.load_module(), x.astype("float32").transpose(0, 3, 1, 2)
    before = megabytes("VmRSS")
    RESET.write_text("5")
    ke.evaluate(module, inputs, "predicted", methods=methods, metrics=METRICS, batch_size=8, verbose=0)
    return megabytes("VmHWM") - before


def megabytes(name):
    return int(re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())[1]) / 1024


@pytest.fixture(scope="module")
def least():
    peak(MAPS, FEW)  # what the first call allocates once
    return peak(MAPS, FEW)


def test_it_is_flat_in_the_number_of_images(least):
    assert peak(MAPS, MANY) < least + MORE


def test_it_is_flat_in_the_number_of_methods(least):
    more = ("hirescam", "layercam", "xgradcam", "gradcampp", "input_x_gradient", "guided_backprop", "full_gradients")
    assert peak(MAPS + more, FEW) < least + MORE


def test_it_is_flat_in_the_number_of_repetitions(least):
    assert peak({"rise": ("rise", {"repetitions": 32})}, FEW) < least + MORE
    assert peak({"rise": ("rise", {"repetitions": 512})}, FEW) < least + MORE
