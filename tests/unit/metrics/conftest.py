"""A model, images, units and maps, and the same model as a NumPy function."""

import numpy as np
import pytest

from support import keras_models, torch_models
from support.compare import as_numpy
from support.selection import BACKEND


class Subject:
    """`model`, `x` as it takes them, `last` the same with channels last, `logits` a function of images like `last`."""

    def __init__(self, model, x, first):
        self.model, self.x, self.first = model, x, first
        self.last = np.moveaxis(x, 1, -1) if first else x
        self.y = np.array([[1, 3], [0, 2]])
        # Rounded, so that some values are equal, and half of them zero.
        self.maps = np.maximum(np.random.default_rng(1).normal(size=(*self.last.shape[:-1], 2)).round(1), 0)

    def logits(self, images):
        images = images.astype("float32")
        return as_numpy(self.model(np.moveaxis(images, -1, 1) if self.first else images))


class Module(Subject):
    def logits(self, images):
        import torch

        with torch.no_grad():
            return self.model(torch.from_numpy(np.moveaxis(images, -1, 1).astype("float32").copy())).numpy()


@pytest.fixture(params=["keras", "module"])
def subject(request):
    if request.param == "keras":
        model = keras_models.build_once("functional")
        return Subject(model, keras_models.images("functional", 2), False)
    if BACKEND != "torch":
        pytest.skip("modules are of PyTorch")
    return Module(torch_models.drawn(torch_models.Plain()), torch_models.images(2), True)
