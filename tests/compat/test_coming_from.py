"""The page for those who come from another library: each row of its tables is run, and compared where both are there."""

import re
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from support import keras_models

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"
BACKEND = keras.backend.backend()
SIZE, UNITS = (18, 22), [1, 4]
LIBRARIES = {  # the section of the page, what its models are, and what has to be installed
    "Captum": ("torch", "captum"),
    "pytorch-grad-cam": ("torch", "pytorch_grad_cam"),
    "tf-keras-vis": ("keras", "tf_keras_vis"),
    "Xplique": ("keras", "xplique"),
    "keras-explainable 0.0": ("keras", "keras_explainable"),
    "fullgrad-saliency": ("torch", "saliency"),
}


@dataclass(frozen=True)
class Row:
    section: str
    there: str
    here: str
    values: str


def sections():
    """What the page says of each library, by its heading."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def cells(text, number):
    """The rows of the tables of so many columns, without their heads."""
    rows = [[cell.strip() for cell in line.strip("|\n ").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in rows if len(row) == number and row[0].startswith("`")]


def rows():
    return [Row(name, a.strip("`"), b.strip("`"), c) for name in LIBRARIES for a, b, c in cells(sections()[name], 3)]


def network():
    x = image = keras.Input((*SIZE, 3), name="image")
    x = L.BatchNormalization(name="bn1")(L.Conv2D(8, 3, padding="same", name="conv1")(x))
    x = L.Conv2D(6, 3, strides=2, padding="same", name="conv2")(L.ReLU(name="relu1")(x))
    x = L.GlobalAveragePooling2D(name="pool")(L.ReLU(name="relu2")(x))
    x = L.Dense(5, name="logits")(x)
    return keras_models.randomize(keras.Model(image, L.Activation("softmax", name="probabilities")(x)))


def module():
    from collections import OrderedDict

    from torch import nn

    from support import torch_models

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
            self.conv2, self.relu2 = nn.Conv2d(8, 6, 3, stride=2, padding=1), nn.ReLU()
            self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

        def forward(self, x):
            x = self.relu1(self.bn1(self.conv1(x)))
            x = self.relu2(self.conv2(x))
            return self.fc(self.pool(x)[:, :, 0, 0])

    return torch_models.drawn(Small())


def names(row):
    """What both columns of a row may use."""
    images = np.random.default_rng(3).normal(size=(2, *SIZE, 3)).astype("float32")
    squares = np.arange(SIZE[0])[:, None] // 6 * 4 + np.arange(SIZE[1]) // 6
    known = {"ke": ke, "keras": keras, "np": np, "y": UNITS, "normalize": normalize}
    if LIBRARIES[row.section][0] == "keras":
        return known | {"model": network(), "x": images, "references": images[::-1] * 0.5, "squares": squares}
    import torch

    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    squares = torch.from_numpy(squares)
    return known | {"torch": torch, "model": module(), "x": x, "references": x.flip(0) * 0.5, "squares": squares}


def normalize(a):
    low, high = (end(a, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
    return (a - low) / (high - low)


def run(code, known, maps=True):
    found = eval(code, known)
    return found


def of_theirs(found, row):
    """Maps (N, H, W), or with channels where the library has them; what is no array as it is."""
    if isinstance(found, ke.Explanation):
        return of_ours(found, row)
    if hasattr(found, "detach"):
        found = found.detach().numpy()
    if not hasattr(found, "shape"):
        return found
    found = np.asarray(found)
    axis = 1 if LIBRARIES[row.section][0] == "torch" else -1
    return found.squeeze(axis) if found.ndim == 4 and found.shape[axis] == 1 else found


def of_ours(found, row):
    if not isinstance(found, ke.Explanation):
        return found
    maps = found.maps
    if maps.ndim == 4:
        return maps[..., 0]
    return np.moveaxis(maps[:, 0], -1, 1) if LIBRARIES[row.section][0] == "torch" else maps[:, 0]


def pytest_generate_tests(metafunc):
    pass


def params():
    return [pytest.param(row, id=f"{row.section}: {row.there[:60]}") for row in rows()]


@pytest.mark.parametrize("row", params())
def test_both(row, request):
    kind, library = LIBRARIES[row.section]
    if library in ("tf_keras_vis", "xplique") and BACKEND != "tensorflow":
        pytest.skip("tf")
    if library == "pytorch_grad_cam":
        request.getfixturevalue("torchvision")
    if kind == "torch" and BACKEND != "torch":
        pytest.skip("torch")
    pytest.importorskip(library)
    known = names(row)
    setup = dict(known)
    for block in re.findall(r"```python\n(.*?)```", sections()[row.section], re.DOTALL):
        exec(block, setup)
    there = of_theirs(run(row.there, setup), row)
    here = of_ours(run(row.here, known), row)
    env = {"here": here, "there": there, "np": np, "normalize": normalize}
    m = re.search(r"`(.*?)` = `(.*?)`", row.values)
    a, b = (np.asarray(eval(s, dict(env))).squeeze() for s in (m.groups() if m else ("here", "there")))
    gap = abs(a - b).max() / abs(b).max() if a.shape == b.shape else (a.shape, b.shape)
    gap2 = np.linalg.norm(a - b) / np.linalg.norm(b) if a.shape == b.shape else None
    c = np.corrcoef(a.ravel(), b.ravel())[0, 1] if a.shape == b.shape else None
    print("GAP", row.there, gap, gap2, c, row.values)
