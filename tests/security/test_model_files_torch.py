"""Files of PyTorch that mean harm: not read in safe mode, whatever is inside, and the reason is said."""

import zipfile

import keras
import pytest

from keras_explainable import loading
from keras_explainable.errors import ModelFileError
from support import model_files
from support.model_files import edited, function, layers_of

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="files of PyTorch need its backend")


class Writes(torch.nn.Module):
    """A module that writes a file when it runs, as TorchScript can."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x.flatten(1)


@pytest.fixture
def marker(tmp_path):
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "a file ran what it brought"


def refused(path, kind):
    with pytest.raises(ModelFileError, match=f"is {kind}, which safe mode does not read") as caught:
        loading.load(path)
    assert "never to load one from a source that you do not trust" in str(caught.value)
    assert "--unsafe, or safe_mode=False" in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pt2"])
def test_torchscript_is_not_read(tmp_path, name, marker):
    torch.jit.script(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))).save(tmp_path / name)
    refused(tmp_path / name, "a TorchScript file")
    loaded = loading.load(tmp_path / name, safe_mode=False)  # as a program that is trusted
    assert loaded.model(torch.ones(1, 3, 2, 2)).shape == (1, 2)


def test_an_export_is_not_read(tmp_path, marker):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    varying = ({0: torch.export.Dim("batch")},)
    torch.export.save(
        torch.export.export(module, (torch.ones(2, 3, 2, 2),), dynamic_shapes=varying), tmp_path / "m.pt2"
    )
    refused(tmp_path / "m.pt2", "an archive of torch.export")
    size = f"open({str(marker)!r}, 'w')"  # SymPy evaluates the expression of a size
    with zipfile.ZipFile(tmp_path / "m.pt2") as old, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"expr_str":"s', f'"expr_str":"{size}+s'.encode()))
        for extra in ("x/data/CUSTOM_OBJ_0", "x/data/aotinductor/model/a.so", "x/data/weights/../custom_obj_0.json"):
            new.writestr(extra, b"\x80\x04.")
    refused(tmp_path / "evil.pt2", "an archive of torch.export")
    (tmp_path / "m.pt2").rename(tmp_path / "m.pt")  # a name makes it no safer
    refused(tmp_path / "m.pt", "an archive of torch.export")


FAILS = ("linspace", {})  # Keras tries a function that fails again, on real values
TABLE = {"class_name": "__numpy__", "config": {"value": [10**6] * 8, "dtype": "int32"}}


@pytest.mark.parametrize(
    "name, arguments, side",
    [(*FAILS, 8192), ("repeat", {"repeats": 10**6, "axis": 1}, 8), ("repeat", {"repeats": TABLE, "axis": 1}, 8)],
)
def test_no_layer_is_computed_on_gigabytes_to_find_its_shape(tmp_path, name, arguments, side):
    model_files.refused(
        calling(tmp_path, name, arguments, side), "only to find the shape of its output: no known model"
    )


def test_layers_that_are_computed_on_little_to_find_their_shape_load(tmp_path):
    model = loading.load(calling(tmp_path, "repeat", {"repeats": 2, "axis": 1}, 8)).model
    assert model.get_layer("door").output.shape == (None, 16, 8, 1)


def calling(tmp_path, name, arguments, side):
    """A file with a Lambda that calls a function of Keras on images with sides of this length."""
    path = tmp_path / "model.keras"
    images = keras.Input((8, 8, 1))
    door = keras.layers.Lambda(keras.ops.relu, name="door")(images)
    keras.Model(images, keras.layers.GlobalAveragePooling2D()(door)).save(path)

    def change(config):
        first, layer = layers_of(config)[:2]
        first["config"]["batch_shape"] = [None, side, side, 1]
        layer["config"] |= {"function": function("keras.ops", name, name), "arguments": arguments}
        layer.pop("build_config", None)

    return edited(path, change)
