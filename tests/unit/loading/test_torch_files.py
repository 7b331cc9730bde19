"""Modules of PyTorch by file or factory: read without unpickling, fed as they expect, explained by the command line."""

import os
import pickle
import sys
import zipfile

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import loading
from keras_explainable.errors import BackendError, LayerError, ModelFileError
from keras_explainable.gallery import image_folder
from support.compare import close

torch = pytest.importorskip("torch")
on_torch = pytest.mark.skipif(keras.backend.backend() != "torch", reason="modules are explained on the torch backend")
MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SIZE = (12, 16)
FACTORY = """
import torch

def make():
    torch.manual_seed(0)
    stack = [torch.nn.Conv2d({channels}, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    return torch.nn.Sequential(*stack, torch.nn.Linear(4, 5)).eval()

def nothing():
    return None

number = 3
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """The name of a function in a module that can be imported, which makes the module of a number of channels."""

    def write(channels=3):
        name = f"factory_of_{channels}"
        (tmp_path / f"{name}.py").write_text(FACTORY.format(channels=channels))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return f"{name}:make"

    return write


@pytest.fixture
def module():
    namespace = {}
    exec(FACTORY.format(channels=3), namespace)
    return namespace["make"]()


def blank(n=2):
    return torch.zeros(n, 3, *SIZE)


def save(module, path):
    """The module in a file, by what the file's name says."""
    if path.suffix == ".pt2":
        batch = torch.export.Dim("batch")
        torch.export.save(torch.export.export(module, (blank(),), dynamic_shapes=({0: batch},)), path)
    else:
        (torch.jit.script(module) if path.stem == "scripted" else torch.jit.trace(module, blank())).save(path)
    return path


def photos(n=3):
    return np.random.default_rng(0).integers(0, 255, (n, *SIZE, 3), "uint8")


@on_torch
@pytest.mark.parametrize("name", ["scripted.pt", "traced.pth", "exported.pt2"])
def test_a_file_gives_the_module_that_was_saved(module, tmp_path, name):
    loaded = loading.load(
        save(module, tmp_path / name), "imagenet", False, None, None if name == "exported.pt2" else SIZE
    )
    assert loaded.size == SIZE and loaded.preprocess.guessed and loaded.class_names is None
    x = loaded.preprocess(photos())
    close(x, ((photos() / 255 - MEAN) / SPREAD).transpose(0, 3, 1, 2), atol=1e-5)
    with torch.no_grad():
        close(loading.scores(loaded, x), module(torch.from_numpy(x)).numpy(), atol=1e-6)
    ours, theirs = (ke.explain("gradients", m, x, [1, 4, 0], verbose=0).maps for m in (loaded.model, module))
    close(ours, theirs, atol=1e-6 * abs(theirs).max())
    for method in ("gradcam", "full_gradients"):
        if name == "exported.pt2":  # whose functions are seen
            ours, theirs = (ke.explain(method, m, x, 1, verbose=0, resizing=False) for m in (loaded.model, module))
            if method == "full_gradients":
                close(ours.maps, theirs.maps, atol=1e-4 * abs(theirs.maps).max())
            continue
        with pytest.raises(LayerError, match="shows none of its layers"):
            ke.explain(method, loaded.model, x, 1, verbose=0)


@on_torch
def test_a_factory_gives_its_module_and_scores_come_in_batches(factory, module):
    loaded = loading.load(factory(), scale="unit")
    assert loaded.size == (224, 224) and not loaded.preprocess.guessed
    x = loaded.preprocess(photos(loading.BATCH + 3))
    close(x, photos(len(x)).transpose(0, 3, 1, 2) / 255, atol=1e-6)
    with torch.no_grad():
        close(loading.scores(loaded, x), module(torch.from_numpy(x)).numpy(), atol=1e-6)
    grey = loading.load(factory(1), scale="raw").preprocess(photos())
    close(grey[:, 0], photos() @ [0.299, 0.587, 0.114], rtol=1e-5)


def test_a_factory_may_return_a_keras_model(factory, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "factory_of_keras.py").write_text("from keras_explainable import demo\nmake = demo.load_model\n")
    loaded = loading.load("factory_of_keras:make")
    assert loaded.size == (96, 96) and loaded.preprocess.name == "raw" and not loaded.preprocess.guessed


@on_torch
def test_factories_that_are_none(factory):
    module_name = factory().partition(":")[0]
    with pytest.raises(ModelFileError, match="no module 'qqq'.*PYTHONPATH"):
        loading.load("qqq.models:make")
    with pytest.raises(ModelFileError, match="no function 'mak'"):
        loading.load(f"{module_name}:mak")
    with pytest.raises(ModelFileError, match="no function 'number'"):
        loading.load(f"{module_name}:number")
    with pytest.raises(ModelFileError, match="did not return a model.*NoneType"):
        loading.load(f"{module_name}:nothing")


class Trap:
    """Unpickled, it says so."""

    def __reduce__(self):
        return exec, ("import sys; sys.sprung = True",)


@pytest.fixture
def safe():
    yield
    sprung = sys.__dict__.pop("sprung", False)
    assert not sprung, "a file was unpickled"


@on_torch
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pt2"])
def test_pickled_files_are_refused_unread(module, tmp_path, name, zipped, safe):
    for content in (module, module.state_dict(), Trap()):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ModelFileError, match="pickled Python objects.*package.module:factory.*weights_only=True"):
            loading.load(tmp_path / name, safe_mode=False)
    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelFileError, match="pickled Python objects"):
        loading.load(tmp_path / name)


@on_torch
@pytest.mark.parametrize(
    "member", ["data/weights/weight_0", "data/sample_inputs/model.pt", "data/constants/opaque_obj_0"]
)
def test_pickles_inside_of_an_archive_are_not_unpickled(module, tmp_path, member, safe):
    path, trapped = save(module, tmp_path / "exported.pt2"), tmp_path / "trapped.pt2"
    torch.save(Trap(), tmp_path / "trap.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(trapped, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("weights_config.json") and "weights" in member:
                content = content.replace(b'"use_pickle":false', b'"use_pickle":true')
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true')
            if not name.endswith(member):
                new.writestr(name, content)
        new.writestr(f"exported/{member}", (tmp_path / "trap.pt").read_bytes())
    for safe_mode in (True, False):
        with pytest.raises(ModelFileError):
            loading.load(trapped, safe_mode=safe_mode)


@on_torch
def test_damaged_and_foreign_files(module, tmp_path):
    data = save(module, tmp_path / "traced.pt").read_bytes()
    for content, words in (
        (b"", "cut short"),
        (data[: len(data) // 2], "cut short"),
        (b"hello, I am no model", "not a PyTorch file.*torch.jit.save"),
    ):
        (tmp_path / "bad.pt").write_bytes(content)
        with pytest.raises(ModelFileError, match=words):
            loading.load(tmp_path / "bad.pt")
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as file:
        file.writestr("bad/constants.pkl", "b")
        file.writestr("bad/code/a.py", "b")
    with pytest.raises(ModelFileError, match="cannot be read"):
        loading.load(tmp_path / "bad.pt", safe_mode=False)


@on_torch
def test_an_export_for_one_number_of_images_is_refused(module, tmp_path):
    torch.export.save(torch.export.export(module, (blank(1),)), tmp_path / "one.pt2")
    with pytest.raises(ModelFileError, match=r"only takes batches of 1\. .*dynamic_shapes"):
        loading.load(tmp_path / "one.pt2", safe_mode=False)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="of the other backends")
def test_modules_need_the_torch_backend(module, tmp_path, factory):
    with pytest.raises(BackendError, match="--backend torch"):
        loading.load(save(module, tmp_path / "traced.pt"))
    with pytest.raises(BackendError, match="KERAS_BACKEND=torch"):
        loading.load(factory())


@on_torch
def test_every_method_is_dumped_or_says_why_not(module, factory, tmp_path):
    pytest.importorskip("PIL")
    made = image_folder.make(
        loading.load(factory(), size=(32, 32)), None, tmp_path / "all", ["gradcam", "gradients"], False
    )
    assert len(made.pictures) == 2 * image_folder.SCENES and not made.left_out
    methods = ["gradients", "occlusion", "gradcam", "lrp_epsilon_plus"]
    opaque = loading.load(save(module, tmp_path / "scripted.pt"), safe_mode=False, size=(32, 32))
    some = image_folder.make(opaque, None, tmp_path / "some", methods, False)
    assert {p.stem.split("_")[-1] for p in some.pictures} == {"gradients", "occlusion"}
    assert set(some.left_out) == {"gradcam", "lrp_epsilon_plus"}


@on_torch
def test_the_command_line_explains_and_lists_modules(module, factory, tmp_path):
    pytest.importorskip("typer")
    from PIL import Image
    from typer.testing import CliRunner

    from keras_explainable import cli

    def run(*words):
        return CliRunner().invoke(cli.app(), [str(word) for word in words])

    Image.fromarray(photos(1)[0]).save(tmp_path / "photo.png")
    words = ["explain", tmp_path / "photo.png", "--out", tmp_path / "out", "--size", "12x16"]
    made = run(*words, "--model", factory(), "--report")
    assert made.exit_code == 0, made.output
    assert "'torch', a guess" in made.stderr and (tmp_path / "out" / "photo_gradcam.png").exists()
    with torch.no_grad():
        best = module(torch.from_numpy(loading.load(factory()).preprocess(photos(1)))).max()
    assert f"{float(best):.2f}" in made.stdout
    layers = run("layers", factory(), "--size", "20").stdout
    assert layers.splitlines()[2].split()[:10] == [*"00", "Conv2d", *"4x", "18", "x", "18", "channels", "first"]
    path = save(module, tmp_path / "scripted.pt")
    words.insert(1, "--overwrite")
    refused = run(*words, "--model", path, "-m", "gradients")
    assert refused.exit_code == 1 and "--unsafe" in refused.stderr
    plain = run(*words, "--model", path, "--unsafe")
    assert plain.exit_code == 0 and (tmp_path / "out" / "photo_gradients.png").exists(), plain.output
    scripted = run(*words, "--model", path, "--unsafe", "-m", "gradcam")
    assert "shows none of its layers" in run("layers", path, "--unsafe").stdout
    assert scripted.exit_code == 1 and "as `gradients` does" in scripted.stderr
    assert run(*words, "--model", path, "--unsafe", "-m", "gradients").exit_code == 0
    assert run(*words[:-1], "12x").exit_code == 2


@pytest.mark.parametrize("words", [["--model", "m.pt"], ["--model=m.pth"], ["m.pt2"]])
@pytest.mark.parametrize(("setting", "begins"), [("", True), (keras.backend.backend(), False)])
def test_a_file_of_pytorch_makes_the_command_line_begin_on_torch(monkeypatch, words, setting, begins):
    pytest.importorskip("typer")
    from keras_explainable.cli import backends

    begun = []
    monkeypatch.setenv("KERAS_BACKEND", setting)
    monkeypatch.setattr(os, "execv", lambda *_: begun.append(os.environ["KERAS_BACKEND"]))
    backends.select(["explain", "photo.png", *words])
    assert begun == (["torch"] if begins and keras.backend.backend() != "torch" else [])


def test_a_factory_of_a_module_makes_the_command_line_begin_on_torch(monkeypatch):
    pytest.importorskip("typer")
    import typer

    from keras_explainable.cli import failures

    begun = []
    monkeypatch.setattr(os, "execv", lambda *_: begun.append(os.environ["KERAS_BACKEND"]))
    monkeypatch.setattr(sys, "argv", ["keras-explainable", "layers", "nets:make"])

    @failures.friendly
    def command(debug):
        raise BackendError("a module came")

    for setting, expected in ((keras.backend.backend(), []), ("", ["torch"])):
        monkeypatch.setenv("KERAS_BACKEND", setting)
        with pytest.raises(typer.Exit):
            command(debug=False)
        assert begun == expected
