"""docs/coming-from.md: each row of its tables is run, and its values are compared as its last column says.

Where the other library draws random numbers or has another rule for the same integral, `nearly` bounds the mean
difference. Where it defines something else, or is not installed by `make test`, our side alone is run, and compared with
the method called by its full name.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from support import keras_models
from support.compare import close
from support.selection import slow, very_slow_compiled

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"
BACKEND = keras.backend.backend()
SIZE, CLASSES = (18, 22), [1, 4]
EQUAL, NEARLY = 1e-4, 0.2

pytestmark = [
    very_slow_compiled,
    pytest.mark.filterwarnings("ignore:The structure of `inputs`"),
    pytest.mark.filterwarnings("ignore:You are providing multiple inputs for Lime"),
    pytest.mark.filterwarnings("ignore:.*is poorly determined"),
]


@dataclass(frozen=True)
class Library:
    module: str
    of_torch: bool  # whether its models are torch modules, and maps have their channels first
    where: tuple[str, ...]  # the backends on which it runs
    marks: tuple = ()


EVERY = ("tensorflow", "jax", "torch")
PEERS = (pytest.mark.peers, slow)  # `make test-peers` runs the slow tests, and no others
LIBRARIES = {
    "Captum": Library("captum", True, ("torch",)),
    "pytorch-grad-cam": Library("pytorch_grad_cam", True, ("torch",), PEERS),
    "tf-keras-vis": Library("tf_keras_vis", False, ("tensorflow",), PEERS),
    "Xplique": Library("xplique", False, ("tensorflow",), PEERS),
    "keras-explainable 0.0": Library("keras_explainable", False, EVERY),
    "fullgrad-saliency": Library("saliency", True, ("torch",)),
}


@dataclass(frozen=True)
class Row:
    section: str
    there: str
    here: str
    values: str

    @property
    def library(self):
        return LIBRARIES[self.section]


def sections():
    """The text below each heading of the page."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table(section, columns):
    """The rows of the section's tables of so many columns, without their heads."""
    lines = [line.strip("|\n ").split(" | ") for line in sections()[section].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line] for line in lines if len(line) == columns]


ROWS = [Row(name, a.strip("`"), b.strip("`"), values) for name in LIBRARIES for a, b, values in table(name, 3)]


def cases(rows, marked):
    return [pytest.param(row, id=row.there, marks=row.library.marks if marked else ()) for row in rows]


# Small models with the names of layers that the page has.


def network(units=5, activation="softmax"):
    x = image = keras.Input((*SIZE, 3), name="image")
    x = L.BatchNormalization(name="bn1")(L.Conv2D(8, 3, padding="same", name="conv1")(x))
    x = L.Conv2D(6, 3, strides=2, padding="same", name="conv2")(L.ReLU(name="relu1")(x))
    x = L.GlobalAveragePooling2D(name="pool")(L.ReLU(name="relu2")(x))
    x = L.Activation(activation, name="probabilities")(L.Dense(units, name="logits")(x))
    return keras_models.randomize(keras.Model(image, x))


def modules():
    from torch import cat, nn

    from support.torch_models import drawn

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
            self.conv2, self.relu2 = nn.Conv2d(8, 6, 3, stride=2, padding=1), nn.ReLU()
            self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

        def features(self, x):
            return self.relu2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))

        def forward(self, x):
            return self.fc(self.pool(self.features(x))[:, :, 0, 0])

    class Segmenter(Small):
        def __init__(self):
            super().__init__()
            self.pool, self.fc = nn.Upsample(SIZE, mode="bilinear"), nn.Conv2d(6, 5, 1)

        def forward(self, x):
            return self.pool(self.fc(self.features(x)))

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.block, self.act = nn.Conv2d(3, 6, 2, stride=2), nn.Linear(6, 10), nn.ReLU()
            self.head = nn.Linear(10, 5)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            return self.head(self.act(self.block(cat([x.mean(1, keepdim=True), x], 1))).mean(1))

    return {"model": drawn(Small()), "segmenter": drawn(Segmenter()), "vit": drawn(Tokens())}


def fresh_names(of_torch):
    """The names that both columns of a row use."""
    images = np.random.default_rng(3).normal(size=(2, *SIZE, 3)).astype("float32")
    squares = np.arange(SIZE[0])[:, None] // 6 * 4 + np.arange(SIZE[1]) // 6
    found = {"ke": ke, "keras": keras, "np": np, "y": CLASSES, "labels": [0, 1]}
    if not of_torch:
        found |= {"model": network(), "binary": network(1, "sigmoid")}
        return found | {"x": images, "references": images[::-1] * 0.5, "squares": squares.astype("int32")}
    import torch

    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    found |= modules() | {"torch": torch, "mask": (squares % 3 == 1).astype("float32")}
    return found | {"x": x, "references": x.flip(0) * 0.5, "squares": torch.from_numpy(squares)}


shared_names = functools.cache(fresh_names)


def setup(row):
    """The names that the other library's column uses, with models that it may change: the section's own lines are run."""
    names = fresh_names(row.library.of_torch)
    for block in re.findall(r"```python\n(.*?)```", sections()[row.section], re.DOTALL):
        exec(block, names)
    return names


def normalize(a):
    low, high = (end(a, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
    return (a - low) / (high - low)


def values(found, of_torch):
    """Maps (N, H, W), or with the channels of the images where its library has them; what is no map, as it is."""
    first = 1 if of_torch else -1
    if isinstance(found, ke.Explanation):
        maps = found.maps
        return maps[..., 0] if maps.ndim == 4 else np.moveaxis(maps[:, 0], -1, first)
    if isinstance(found, tuple) and len(found) == 2 and len(getattr(found[1], "shape", ())) == 4:
        found = found[1]  # of a method that is called by itself
    if not hasattr(found, "shape"):
        return found
    found = np.array(keras.ops.convert_to_numpy(found))
    axis = first if found.ndim == 4 and found.shape[first] == 1 else -1
    return found.squeeze(axis) if found.ndim == 4 and found.shape[axis] == 1 else found


def sides(row, here, there):
    """What the last column says to compare."""
    formula = re.search(r"`(.*?)` = `(.*?)`", row.values)
    names = {"here": here, "there": there, "np": np, "normalize": normalize}
    a, b = (eval(side, dict(names)) for side in (formula.groups() if formula else ("here", "there")))
    return [np.squeeze(keras.ops.convert_to_numpy(side)) for side in (a, b)]


COMPARED = [row for row in ROWS if not row.values.startswith(("differs", "not taken"))]


@pytest.mark.parametrize("row", cases(COMPARED, True))
def test_values_are_those_of_the_other_library(row, request):
    if BACKEND not in row.library.where:
        pytest.skip(f"{row.section} runs on {', '.join(row.library.where)}")
    if row.section == "pytorch-grad-cam":
        request.getfixturevalue("torchvision")  # which it imports
    pytest.importorskip(row.library.module, reason=f"{row.section} is not installed", exc_type=ImportError)
    if row.section == "Captum" and row.there.startswith(("KernelShap", "Lime")):
        pytest.importorskip("sklearn", reason="Captum fits surrogates with scikit-learn")
    keras.utils.set_random_seed(0)  # of what the other library draws
    there = values(eval(row.there, setup(row)), row.library.of_torch)
    here = values(eval(row.here, dict(shared_names(row.library.of_torch))), row.library.of_torch)
    a, b = sides(row, here, there)
    assert a.shape == b.shape and abs(b).max() > 0
    if row.values.startswith("nearly"):
        gap = np.linalg.norm(a - b) / np.linalg.norm(b)
        assert gap < NEARLY, f"{gap:.2f} of there"
    else:
        close(a, b, atol=EQUAL * abs(b).max(), rtol=0)


def full_name(name):
    """Where a registered method is."""
    _, _, family, *module = ke.registry.METHODS[name].function.__module__.split(".")
    shown = callable(getattr(getattr(ke.methods, family), name, None))
    return ".".join(["ke.methods", family, *([] if shown else module), name])


def written_out(code):
    """The same line with each method called by its full name, and a shortcut's postprocessing given."""
    shortcut = re.match(r"ke\.(\w+)\((.*)\)$", code)
    if shortcut and shortcut[1] in ke.registry.METHODS:
        name, given = shortcut.groups()
        customary = f", postprocessing=ke.filters.{ke.registry.METHODS[name].postprocessing.__name__}"
        code = f"ke.explain({full_name(name)}, {given}{'' if 'postprocessing=' in given else customary})"
    for name in ke.registry.METHODS:
        code = code.replace(f'"{name}"', full_name(name))
    return code


def of_methods(row):
    return written_out(row.here) != row.here


ALONE = [row for row in ROWS if of_methods(row) and (row not in COMPARED or row.library.marks)]


@pytest.mark.parametrize("row", cases(ALONE, False))
def test_our_line_is_the_method_of_its_full_name(row):
    if row.library.of_torch and BACKEND != "torch":
        pytest.skip("torch modules are explained on PyTorch")
    few = re.sub(r"repetitions=\d+", "repetitions=20", row.here)
    here, full = (
        values(eval(code, dict(shared_names(row.library.of_torch))), row.library.of_torch)
        for code in (few, written_out(few))
    )
    assert np.ptp(here) > 0
    close(here, full, atol=1e-6 * abs(full).max(), rtol=0)


@pytest.mark.parametrize("row", cases([row for row in ROWS if row.values == "not taken"], False))
def test_what_is_not_taken_is_said(row):
    given = re.findall(r"(\w+)=", row.there)
    with pytest.raises(ke.errors.InputError, match=f"takes no {given[0]}="):
        eval(row.there, setup(row))


def test_no_row_is_left_out():
    alone = [row for row in ROWS if row not in COMPARED and row.values != "not taken"]
    assert all(of_methods(row) for row in alone), "what differs is compared with the method of its full name"
    assert all(re.match(r"the same$|not taken$|nearly.*: .|differs: .|`[^`]+` = `[^`]+`", row.values) for row in ROWS)
    for name in LIBRARIES:
        written = len(re.findall(r"^\| you wrote \|", sections()[name], re.MULTILINE))
        assert written == 1 and sum(row.section == name for row in ROWS) >= 9


@pytest.mark.parametrize("name", LIBRARIES)
def test_each_parameter_is_in_a_line(name):
    """A name of a parameter, there and here, stands in the lines of its library."""
    rows = [row for row in ROWS if row.section == name]
    there, here = " ".join(row.there for row in rows), " ".join(row.here for row in rows)
    assert table(name, 2)
    for theirs, ours in table(name, 2):
        for column, lines in ((theirs, there), (ours, here)):
            for word in re.findall(r"`(.+?)`", column):
                assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", lines), f"{word} is in no line of {name}"
