"""A folder of images in, one overlay for each image and method out: their names, sizes and colours."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import loading
from keras_explainable.errors import InputError
from keras_explainable.gallery import image_folder
from keras_explainable.viz.image_files import read_image
from support.compare import close
from support.selection import fast_on_torch, very_slow_compiled

Image = pytest.importorskip("PIL.Image", reason="image files need pillow")
ROOT = Path(__file__).resolve().parents[3]
SIZE = (16, 24)


def redness():
    """Its one unit is the mean of red - blue, and its last signal is red and blue themselves."""
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(2, 1, name="red_and_blue")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(1, name="score")(x))
    model.get_layer("red_and_blue").set_weights([np.array([[[[1.0, 0], [0, 0], [0, 1]]]]), np.zeros(2)])
    model.get_layer("score").set_weights([np.array([[1.0], [-1]]), np.zeros(1)])
    return loading.Loaded(model, loading.Preprocess(loading.SCALES["unit"], "unit"), SIZE, None)


@pytest.fixture(scope="module")
def loaded():
    return redness()


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, "uint8")).save(path)


def halves(height, width, left=(0, 0, 200), right=(200, 0, 0)):
    """A picture that is blue on the left and red on the right."""
    pixels = np.zeros((height, width, 3), "uint8")
    pixels[:, : width // 2], pixels[:, width // 2 :] = left, right
    return pixels


pytestmark = [fast_on_torch, pytest.mark.filterwarnings("ignore:.* maps are the same everywhere")]


@pytest.mark.parametrize(("height", "width"), [(16, 24), (30, 200), (240, 20), (7, 5)])
def test_colours_and_size_are_the_images_own(loaded, tmp_path, height, width):
    put(tmp_path / "in" / "photo.png", halves(height, width))
    made = image_folder.make(loaded, tmp_path / "in", tmp_path / "out", ["gradcam"], progress=False)
    assert made.pictures == [tmp_path / "out" / "photo_gradcam.png"] and not made.left_out
    picture = read_image(made.pictures[0])
    assert picture.shape == (height, width, 3)
    # The map is 0 on the blue half and at its highest on the red one. The colours for that, by hand: a tenth of 80 % of
    # the map's dark blue (0, 0, 0.5) over blue, and 80 % of its dark red (0.5, 0, 0) over red.
    close(picture[:, 0], [[0, 0, 0.92 * 200 + 0.08 * 127.5]] * height, atol=1)
    close(picture[:, -1], [[0.2 * 200 + 0.8 * 127.5, 0, 0]] * height, atol=1)


def test_the_model_sees_the_whole_image_and_explains_its_highest_unit(tmp_path):
    inputs = keras.Input((*SIZE, 3))
    two = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 1, name="channels")(inputs))
    model = keras.Model(inputs, two)
    model.get_layer("channels").set_weights([np.array([[[[1.0, 0], [0, 0], [0, 1]]]]), np.zeros(2)])
    loaded = redness()._replace(model=model)
    put(tmp_path / "in" / "mostly_blue.png", halves(10, 400, right=(90, 0, 0)))
    put(tmp_path / "in" / "mostly_red.png", halves(10, 400, left=(0, 0, 90)))
    made = image_folder.make(loaded, tmp_path / "in", tmp_path / "out", ["gradcam"], progress=False)
    blue, red = (read_image(path).astype(int) for path in made.pictures)
    # Where the explained colour is, the map is at its highest: dark red, 80 % opaque.
    close(blue[5, 1], [0.8 * 127.5, 0, 0.2 * 200], atol=1)
    close(red[5, -2], [0.8 * 127.5 + 0.2 * 200, 0, 0], atol=1)


def test_no_name_is_used_twice(loaded, tmp_path):
    folder = tmp_path / "in"
    names = ["cat.jpg", "cat.png", "cat_simple.png", "a/cat.png", "b/cat.png", "CAT2.PNG", "cat.png.gradcam.png"]
    for name in names:
        put(folder / name, halves(8, 8))
    (folder / "notes.txt").write_text("no image")
    methods = ["gradients", "full_gradients", "simple_full_gradients", "gradcam"]
    made = image_folder.make(loaded, folder, tmp_path / "out", methods, progress=False)
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    stems = ["cat", "cat-2", "cat_simple", "a/cat", "b/cat", "CAT2", "cat.png.gradcam"]
    # Of cat_simple, one picture would be that of cat by another method: it is numbered.
    assert {name for name in files if "simple" not in name} == {
        f"{stem}_{m}.png" for stem in stems if stem != "cat_simple" for m in methods if "simple" not in m
    }
    assert len(made.pictures) == len(set(made.pictures)) == len(files) == 28


def test_more_images_than_one_batch_each_with_its_own_map(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(image_folder, "BATCH", 3)
    widths = {f"{i}.png": 10 + i for i in range(7)}
    for name, width in widths.items():
        put(tmp_path / "in" / name, halves(9, width))
    made = image_folder.make(loaded, tmp_path / "in", tmp_path / "out", ["gradients", "gradcam"], progress=False)
    sizes = {path.name: read_image(path).shape[1] for path in made.pictures}
    assert sizes == {f"{Path(n).stem}_{m}.png": w for n, w in widths.items() for m in ("gradients", "gradcam")}


def test_pictures_of_an_earlier_run_are_no_images(loaded, tmp_path):
    put(tmp_path / "photo.png", halves(8, 8))
    first = image_folder.make(loaded, tmp_path, tmp_path / "results", ["gradcam"], progress=False)
    again = image_folder.make(loaded, tmp_path, tmp_path / "results", ["gradcam"], progress=False, overwrite=True)
    assert again.pictures == first.pictures and len(first.pictures) == 1
    put(tmp_path / "album" / "photo.png", halves(8, 8))
    assert len(image_folder.make(loaded, tmp_path / "album", tmp_path, ["gradcam"], progress=False).pictures) == 1


def test_what_cannot_be_read_or_explained_is_left_out_and_told(loaded, tmp_path):
    put(tmp_path / "in" / "good.png", halves(8, 8))
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    inputs = keras.Input((*SIZE, 3))
    flat = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    made = image_folder.make(
        loaded._replace(model=flat), tmp_path / "in", tmp_path / "out", ["cam", "gradients"], progress=False
    )
    assert [path.name for path in made.pictures] == ["good_gradients.png"]
    assert set(made.left_out) == {"broken.png", "cam"}
    printed = str(made)
    assert "Left out: broken.png" in printed and "Left out: cam" in printed and "Pictures: 1, such as" in printed


def test_folders_that_will_not_do(loaded, tmp_path):
    (tmp_path / "empty").mkdir()
    put(tmp_path / "photo.png", halves(8, 8))
    for folder, out, says in [
        ("empty", "out", "holds no images"),
        ("nowhere", "out", "does not exist"),
        ("photo.png", "out", "is a file"),
        (".", ".", "another folder"),
    ]:
        with pytest.raises(InputError, match=says):
            image_folder.make(loaded, tmp_path / folder, tmp_path / out, progress=False)


def test_a_bar_shows_how_far_it_is(loaded, tmp_path, capsys):
    put(tmp_path / "in" / "photo.png", halves(8, 8))
    image_folder.make(loaded, tmp_path / "in", tmp_path / "out", ["gradcam", "gradients"])
    assert "2/2" in capsys.readouterr().out
    image_folder.make(loaded, tmp_path / "in", tmp_path / "out", ["gradcam"], progress=False, overwrite=True)
    assert capsys.readouterr().out == ""


@very_slow_compiled
def test_the_script_at_the_root_runs_from_anywhere_without_a_folder(tmp_path):
    pytest.importorskip("typer")
    command = [sys.executable, str(ROOT / "dump_images.py"), "--method", "gradcam", "--method", "gradients"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    made = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert made == [f"scene-{i:02d}_{m}.png" for i in range(1, 7) for m in ("gradcam", "gradients")]
    photo = ke.demo.load_scenes(1, seed=image_folder.SEED)[0][0]
    picture = read_image(tmp_path / "results" / "scene-01_gradcam.png")
    assert picture.shape == photo.shape
    weak = np.abs(picture.astype(int) - photo).max(-1) <= 0.08 * 255 + 1
    assert weak.mean() > 0.2  # the photo's own colours, but for a breath of the map's, where the map is weak
