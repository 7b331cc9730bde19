"""`--fit`: an object at the edge of a photo, how the model gets to see it, and where its map is drawn."""

import sys

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import loading

pytest.importorskip("PIL", reason="image files need pillow")
pytest.importorskip("typer")
from PIL import Image
from typer.testing import CliRunner

from keras_explainable import cli
from support.compare import close
from support.selection import very_slow_compiled

SIZE = (24, 24)
SHAPE, RED = (60, 120), (slice(20, 40), slice(4, 24))  # a wide photo, and the red square at its left end
TALL = 288  # pixels of a row of pictures
pytestmark = [very_slow_compiled, pytest.mark.filterwarnings("ignore:.* maps are the same everywhere")]


def run(*words):
    made = CliRunner().invoke(cli.app(), [str(word) for word in words])
    assert made.exit_code == 0, made.output
    return made


@pytest.fixture
def files(tmp_path):
    """A photo of a red square on dark green, and a model whose one unit, and Grad-CAM, is red less blue."""
    pixels = np.zeros((*SHAPE, 3), "uint8")
    pixels[..., 1] = 40
    pixels[RED] = 220, 0, 0
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    images = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(2, 1, name="red_and_blue")(images)
    model = keras.Model(images, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x)))
    model.layers[1].set_weights([np.array([[[[1.0, 0], [0, 0], [0, 1]]]]), np.zeros(2)])
    model.layers[-1].set_weights([np.array([[1.0], [-1]]), np.zeros(1)])
    model.save(tmp_path / "model.keras")
    return [tmp_path / "photo.png", "--model", tmp_path / "model.keras", "--scale", "unit"]


def box(picture):
    """Rows and columns of what is red in a picture: first and last."""
    picture = picture.astype(int)
    rows, columns = np.nonzero((picture[..., 0] > 70) & (picture[..., 0] > 2 * picture[..., 1:].max(-1)))
    return (rows.min(), rows.max(), columns.min(), columns.max()) if len(rows) else None


def panels(path, width, count=2, height=TALL):
    sheet = np.asarray(Image.open(path).convert("RGB"))
    return [sheet[:height, i * (width + 8) : i * (width + 8) + width] for i in range(count)]


@pytest.mark.parametrize(
    ("fit", "width", "place", "printed"),
    [
        (None, 2 * TALL, (1 / 3, 2 / 3, 1 / 30, 1 / 5), "photo.png: 120 x 60 stretched to 24 x 24"),
        ("stretch", 2 * TALL, (1 / 3, 2 / 3, 1 / 30, 1 / 5), "photo.png: 120 x 60 stretched to 24 x 24"),
        ("pad", TALL, (5 / 12, 7 / 12, 1 / 30, 1 / 5), "photo.png: 120 x 60 padded with grey to 120 x 120, scaled"),
        ("crop", TALL, None, "photo.png: 120 x 60 cropped to its middle 60 x 60, scaled to 24 x 24 (--fit"),
    ],
)
def test_the_map_lies_where_the_object_is_drawn(files, tmp_path, fit, width, place, printed):
    made = run("explain", *files, "--out", tmp_path / "out", *(["--fit", fit] if fit else []))
    (line,) = made.stderr.splitlines()
    assert line.startswith(printed)
    photo, heat = panels(tmp_path / "out" / "photo_gradcam.png", width)
    assert photo.shape == heat.shape == (TALL, width, 3)
    if place is None:  # the middle of the photo has none of it
        assert box(photo) is None
        return
    ends = np.array(place) * [TALL, TALL, width, width]
    blur = 1.5 * TALL / 24  # a pixel of the map and a half
    close(box(photo), ends, atol=blur)
    close(box(heat), ends, atol=blur)


def test_the_score_is_of_what_the_model_saw(files, tmp_path):
    scores = {}
    for fit in ("stretch", "crop", "pad"):
        table = run("explain", *files, "--out", tmp_path, "--fit", fit, "--overwrite").stdout.splitlines()
        scores[fit] = float(table[-1].split()[-1])
    share = 400 / (60 * 120) * 220 / 255
    # Red less blue of the whole, of the middle, and of twice as many pixels.
    assert scores == pytest.approx({"stretch": share, "crop": 0, "pad": share / 2}, abs=0.006)


def test_compare_marks_the_peak_in_the_photo(files, tmp_path):
    made = run("compare", *files, "-m", "gradcam", "--out", tmp_path / "out")
    assert "photo.png: 120 x 60 stretched to 24 x 24" in made.stderr
    (path,) = made.stdout.split()
    sheet = np.asarray(Image.open(path).convert("RGB"))
    heat = sheet[:224, 448 + 8 :].astype(int)
    rows, columns = np.nonzero((heat > 200).all(-1))  # the white cross
    inside = (rows > 224 / 3) & (rows < 2 * 224 / 3) & (columns > 448 / 30) & (columns < 448 / 5)
    assert inside.mean() > 0.5


def test_dump_draws_on_what_the_model_saw_in_the_photos_own_pixels(files, tmp_path):
    photo, *words = files
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).write_bytes(photo.read_bytes())
    shapes = {}
    for fit in ("stretch", "crop", "pad"):
        made = run("dump", tmp_path / "in", *words, "-m", "gradcam", "--fit", fit, "--out", tmp_path / fit)
        printed = [line for line in made.stdout.splitlines() if line.startswith("a.png and 1 more: 120 x 60 ")]
        assert len(printed) == 1
        picture = np.asarray(Image.open(tmp_path / fit / "a_gradcam.png"))
        shapes[fit] = picture.shape[:2]
        if fit != "crop":
            top = 20 if fit == "stretch" else 50
            close(box(picture), [top, top + 19, 4, 23], atol=8)
    assert shapes == {"stretch": (60, 120), "crop": (60, 60), "pad": (120, 120)}


def test_several_photos_are_told_once_for_each_thing_that_is_done(files, tmp_path):
    photo, *words = files
    for name, shape in (("b.png", (60, 120)), ("c.png", (50, 100)), ("d.png", (48, 48))):
        Image.fromarray(np.zeros((*shape, 3), "uint8")).save(tmp_path / name)
    rest = [tmp_path / name for name in ("b.png", "c.png", "d.png")]
    made = run("explain", photo, *rest, *words, "--unit", 0, "--out", tmp_path / "out", "--report")
    assert [line for line in made.stderr.splitlines() if "stretched" in line] == [
        "photo.png and 1 more: 120 x 60 stretched to 24 x 24",
        "c.png: 100 x 50 stretched to 24 x 24",
    ]
    assert "d.png" not in made.stderr  # it is only scaled
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<li>c.png: 100 x 50 stretched to 24 x 24</li>" in page and '"size":[24,48]' in page


def test_models_that_are_known_to_be_fed_central_crops_are_cropped_unless_told(files, tmp_path, monkeypatch):
    trained = keras.models.load_model(files[2])
    monkeypatch.setattr(keras.applications, "MobileNetV2", lambda weights, classifier_activation: trained)
    monkeypatch.setattr(sys.modules["keras_explainable.loading.applications"], "_imagenet_names", lambda: None)
    assert loading.load("MobileNetV2").preprocess.fit == "crop"
    assert loading.load("MobileNetV2", weights=None).preprocess.fit == "stretch"  # nobody trained it
    assert loading.load("demo").preprocess.fit == loading.load(files[2]).preprocess.fit == "stretch"
    known = ["explain", files[0], "--model", "MobileNetV2", "--out", tmp_path / "out"]
    assert "cropped to its middle 60 x 60" in run(*known).stderr
    assert "stretched" in run(*known, "--fit", "stretch", "--overwrite").stderr


def test_the_embedded_network_finds_what_a_crop_loses(tmp_path):
    """A scene beside an empty surface: the object lies at the left end of a wide photo."""
    scene, labels, masks = (part[4] for part in ke.demo.load_scenes(5, seed=7))
    unit = int(labels.argmax())
    wide = np.concatenate([scene, np.broadcast_to(np.median(scene, (0, 1)), (96, 64, 3))], 1).astype("uint8")
    Image.fromarray(wide).save(tmp_path / "wide.png")
    made = run("explain", tmp_path / "wide.png", "--out", tmp_path / "out", "--unit", ke.demo.CLASSES[unit])
    assert "wide.png: 160 x 96 stretched to 96 x 96" in made.stderr
    _, heat = panels(tmp_path / "out" / "wide_gradcam.png", round(TALL * 160 / 96))
    red = heat[..., 0].astype(int) - heat[..., 2]
    row, column = (int(at * 96 / TALL) for at in np.unravel_index(red.argmax(), red.shape))
    assert column < 96 and masks[unit][max(row - 6, 0) : row + 7, max(column - 6, 0) : column + 7].any()
