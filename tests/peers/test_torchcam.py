"""Metrics of maps beside torchcam's.

What it hides is 0, for insertion as well. Its mask of the drop is the map as it is: here with values from 0 to 1, as ours
is. It adds 1e-7 to the score that it divides by. It reports means over images: here of one image at a time. Equal values
are in the order of pixels there: here there are none.
"""

import contextlib
import functools

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)
import torch

import keras_explainable as ke
from support import torch_models
from support.compare import close

pytestmark = pytest.mark.peers
UNITS, SIZE, STEPS = [1, 4, 2], (12, 15), 12  # a whole number of pixels a step
MAPS = np.random.default_rng(1).random((3, *SIZE), "float32")
MAPS /= MAPS.max((1, 2), keepdims=True)


@pytest.fixture
def peer():
    return pytest.importorskip("torchcam.metrics", reason="torchcam is not installed: make test-peers")


class Given:
    """An extractor whose map is given."""

    def __init__(self, model, maps):
        self.model, self.maps = model, torch.from_numpy(maps)

    def __call__(self, *_, **__):
        return [self.maps]

    def fuse_cams(self, cams):
        return cams[0]

    _hooks_off = contextlib.nullcontext


def each(metric, module, x, **given):
    """The values of a metric for each image."""
    found = []
    for image, map_, unit in zip(x, MAPS, UNITS, strict=True):
        one = metric(Given(module, map_[None]), functools.partial(torch.softmax, dim=-1), **given)
        one.update(image[None], unit)
        found.append(one.summary())
    return {name: np.array([values[name] for values in found]) for name in found[0]}


def subject():
    return torch_models.drawn(torch_models.Plain()), torch.from_numpy(torch_models.images(size=SIZE))


def test_deletion_and_insertion(peer):
    module, x = subject()
    expected = each(peer.DeletionInsertionMetric, module, x, steps=STEPS)
    for name in ("deletion", "insertion"):
        found = getattr(ke.metrics, name)(module, x, UNITS, MAPS[..., None], fill=0, points=STEPS + 1)
        close(found.values[:, 0], expected[f"{name}_auc"])


def test_average_drop_and_increase(peer):
    module, x = subject()
    expected = each(peer.ClassificationMetric, module, x)
    for name, theirs in (("average_drop", "avg_drop"), ("average_increase", "conf_increase")):
        found = getattr(ke.metrics, name)(module, x, UNITS, MAPS[..., None], baseline=0.0)
        close(found.values[:, 0], expected[theirs])
    assert 0 < expected["conf_increase"].mean() < 1
