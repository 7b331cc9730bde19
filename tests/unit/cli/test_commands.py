"""The command line: what it writes and says, its exit codes, and errors in one line."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_explainable as ke

pytest.importorskip("typer")
from typer.testing import CliRunner

from keras_explainable import cli
from support.selection import fast, very_slow_compiled

pytestmark = very_slow_compiled

BAR = 8 + 288 // 3  # pixels of the colour bar
OTHER = {"jax": "torch", "torch": "jax", "tensorflow": "jax"}[keras.backend.backend()]


def run(*words):
    return CliRunner().invoke(cli.app(), [str(word) for word in words])


def program(*words, **environment):
    """The command line as a program of its own, with an environment of its own."""
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), **environment}
    command = [sys.executable, "-m", "keras_explainable.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def fails(result, code, *words):
    """The command ended with this code, and said these words on stderr, with no traceback."""
    assert result.exit_code == code, result.output
    said = " ".join(result.stderr.replace("│", " ").split())
    for word in words:
        assert word in said, said
    assert "Traceback" not in said and isinstance(result.exception, SystemExit)
    if code == 1:
        assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def scenes():
    return ke.demo.load_scenes(2, seed=7)


@pytest.fixture
def photo(tmp_path, scenes):
    path = tmp_path / "photo.png"
    Image.fromarray(scenes[0][0]).save(path)
    return path


@fast
def test_explain_saves_the_photo_beside_the_map_of_its_best_unit(photo, tmp_path, scenes):
    result = run("explain", photo, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == "photo_gradcam.png" and str(path) in result.stdout
    logits = ke.demo.load_model().predict(scenes[0][:1].astype("float32"), verbose=0)[0]
    assert f"{ke.demo.CLASSES[logits.argmax()]} {logits.max():.2f}" in result.stdout

    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape == (288 + 26, 2 * 288 + 8 + BAR, 3)
    shown = np.asarray(Image.fromarray(picture[:288, :288]).resize((96, 96)))
    assert abs(shown.astype(int) - scenes[0][0]).mean() < 4  # the photo, on the left

    model, x = ke.demo.load_model(), scenes[0][:1]
    _, maps = ke.gradcam(model, x, np.array([[logits.argmax()]]), verbose=0)
    row, column = np.unravel_index(maps[0, ..., 0].argmax(), (96, 96))
    red, green, blue = picture[3 * row + 1, 296 + 3 * column + 1].astype(int)
    assert red > 80 and red > 2 * green and red > 2 * blue  # the hot spot, on the right
    centre = scenes[2][0, logits.argmax()]
    assert centre[row, column]  # and it lies on the object


def test_explain_several_images_methods_and_units(photo, tmp_path, scenes):
    (tmp_path / "b").mkdir()
    Image.fromarray(scenes[0][1]).resize((200, 120)).save(tmp_path / "b" / "photo.jpg")
    out = tmp_path / "out"
    words = ["-m", "gradcam", "-m", "cam", "--unit", "top-2", "--out", out, "--report"]
    result = run("explain", photo, tmp_path / "b" / "photo.jpg", *words)
    assert result.exit_code == 0, result.output
    names = {path.name for path in out.iterdir()}
    assert names == {f"photo{n}_{m}.png" for n in ("", "-2") for m in ("gradcam", "cam")} | {"report.html"}
    assert Image.open(out / "photo_cam.png").size[0] == 3 * 288 + 2 * 8 + BAR
    page = (out / "report.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert len(data["photos"]) == 2 and [len(row["peaks"]) for row in data["rows"]] == [4, 4]
    assert "Each map is scaled by itself" in page and f"keras-explainable {ke.__version__} ·" in page


@pytest.mark.parametrize("unit", ["3", ke.demo.CLASSES[3]])
def test_a_unit_by_number_or_name(photo, tmp_path, unit, scenes):
    result = run("explain", photo, "--unit", unit, "--out", tmp_path / "out")
    score = ke.demo.load_model().predict(scenes[0][:1].astype("float32"), verbose=0)[0, 3]
    assert result.exit_code == 0 and f"{ke.demo.CLASSES[3]} {score:.2f}" in result.stdout


def test_the_predicted_unit_is_the_highest(photo, tmp_path):
    out = ["--out", tmp_path, "--overwrite"]
    printed = [run("explain", photo, "--unit", unit, *out).stdout for unit in ("predicted", "top-1", "top")]
    assert printed[0] == printed[1] == printed[2] and "photo_gradcam.png" in printed[0]
    assert run("compare", photo, "-m", "gradcam", "--unit", "predicted", "--out", tmp_path).exit_code == 0


def test_the_layer_changes_the_map(photo, tmp_path):
    pictures = []
    for layer in ("features", "block1_output"):
        assert run("explain", photo, "--layer", layer, "--out", tmp_path / layer).exit_code == 0
        pictures.append(np.asarray(Image.open(tmp_path / layer / "photo_gradcam.png")).astype(int))
    assert abs(pictures[0] - pictures[1])[:288, 296:584].mean() > 5
    assert abs(pictures[0] - pictures[1])[:288, :288].max() == 0


@fast
def test_methods_are_listed_by_family_in_120_columns():
    result = run("methods")
    listed, start = result.stdout.split("\nStart here")
    lines = listed.splitlines()
    assert result.exit_code == 0 and max(map(len, result.stdout.splitlines())) <= 120
    assert [line.split()[-1] for line in start.splitlines()[1:4]] == ["gradcam", "lrp_epsilon_plus", "occlusion"]
    records = ke.methods.list()
    heads = [line.split()[0] for line in lines[2:] if line and not line.startswith(" ") and " family" not in line]
    assert heads == [record.name for record in records] != list(ke.registry.METHODS)
    families = [line for line in lines if line.endswith(" family")]
    assert families == list(dict.fromkeys(record.heading for record in records))
    assert families[0] == "CAM family" and len(families) == 6
    text = " ".join(result.stdout.split())
    for r in records:
        about = f"{r.name} {r.needed} {r.cost} {r.summary} {r.caveat} {r.reference}"
        assert " ".join(about.split()) in text


def test_layers_lists_what_can_be_explained_with_shapes():
    listed, default = run("layers", "demo").stdout.split("\n\n")
    assert default == "* Taken without --layer: features\n"
    rows = [line.split() for line in listed.splitlines()[2:]]
    paths = [row[0] for row in rows]
    assert "features" in paths and "pool" not in paths and paths.index("stem_conv") < paths.index("features")
    features = rows[paths.index("features")]
    assert features[1] == "*" and features[3:11] == ["ReLU", "12", "x", "12", "x", "56", "channels", "last"]
    assert float(features[11]) > 0.95 and features[12] == "yes"
    every = [line.split()[0] for line in run("layers", "demo", "--all").stdout.split("\n\n")[0].splitlines()[2:]]
    assert {"pool", "logits"} < set(every) and set(paths) < set(every)


def test_layers_takes_its_model_as_the_others_do(tmp_path):
    images = keras.Input((8, 8, 3))
    keras.Model(images, keras.layers.Conv2D(2, 3, name="mine")(images)).save(tmp_path / "model.keras")
    printed, named = run("layers", "--model", tmp_path / "model.keras"), run("layers", tmp_path / "model.keras")
    assert (
        printed.exit_code == 0 and printed.stderr == "" and printed.stdout == named.stdout and "mine" in printed.stdout
    )
    none = run("layers")
    assert none.stdout == run("layers", "demo").stdout and "embedded network" in none.stderr
    fails(run("layers", "demo", "--model", "VGG16"), 2, "means the same: give one", "'demo'", "'VGG16'")


def test_without_a_model_it_says_which_one_looks(photo, tmp_path):
    few = ["-m", "gradients", "--overwrite", "--out", tmp_path / "out"]
    for words in (["explain", photo], ["compare", photo], ["dump", tmp_path]):
        (line,) = [line for line in run(*words, *few).stderr.splitlines() if "embedded" in line]
        assert "only painted shapes" in line and "--model names another" in line
        assert "embedded" not in run(*words, *few, "--model", "demo").stderr
    assert "embedded" not in run("dump", *few).stderr  # the sample scenes are such shapes


def test_explain_by_all_leaves_out_what_does_not_fit_and_goes_on(photo, tmp_path, monkeypatch):
    chosen = {name: ke.registry.METHODS[name] for name in ("attention_rollout", "gradcam", "gradients")}
    monkeypatch.setattr(ke.registry, "METHODS", chosen)
    made = run("explain", photo, "-m", "all", "--out", tmp_path / "out")
    assert made.exit_code == 0, made.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"photo_gradcam.png", "photo_gradients.png"}
    (line,) = [line for line in made.stderr.splitlines() if line.startswith("Left out")]
    with pytest.raises(ke.errors.LayerError) as caught:
        ke.attention_rollout(ke.demo.load_model(), np.zeros((1, 96, 96, 3)), [0], verbose=0)
    whole = str(caught.value)
    reason = line.removeprefix("Left out: attention_rollout: ")
    assert whole.startswith(reason + " ") and reason.endswith(".") and reason.count(". ") == 0
    named = run("explain", photo, "-m", "attention_rollout", "--out", tmp_path / "named")
    fails(named, 1, " ".join(whole.split()))
    layered = run("explain", photo, "-m", "all", "--layer", "features", "--out", tmp_path / "layered")
    assert [path.name for path in (tmp_path / "layered").iterdir()] == ["photo_gradcam.png"]
    assert "Left out: gradients, attention_rollout: they explain the whole model" in layered.stderr


def test_a_models_file_and_its_scale(photo, tmp_path):
    keras.utils.set_random_seed(0)
    path = tmp_path / "model.keras"
    images = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(images)
    keras.Model(images, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))).save(path)
    words = ["explain", photo, "--model", path, "--unit", 1, "--out", tmp_path, "--overwrite"]
    guessed = run(*words)
    assert guessed.exit_code == 0 and "guess" in guessed.stderr and "unit 1" in guessed.stdout
    printed = run(*words, "--scale", "unit")
    assert printed.exit_code == 0 and printed.stderr == "" and printed.stdout == guessed.stdout
    raw = run(*words, "--scale", "raw")
    assert raw.stdout != guessed.stdout


def test_the_demo_of_every_method_with_pictures(tmp_path, monkeypatch):
    methods = {name: ke.registry.METHODS[name] for name in ("gradcam", "gradients")}

    def refusing(model, inputs, indices=None):
        raise ke.errors.LayerError("Nothing fits. Use another.")

    refused = dataclasses.replace(methods["gradients"], name="refusing", function=refusing)
    monkeypatch.setattr(ke.registry, "METHODS", methods | {"refusing": refused})
    result = run("demo", "--out", tmp_path / "demo", "--images", 2, "--all", "--pictures")
    assert result.exit_code == 0, result.output
    printed = "Left out: refusing: Nothing fits."
    assert printed in result.stdout and f"<li>{printed}</li>" in (tmp_path / "demo" / "report.html").read_text("utf-8")
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names == {f"scene-0{i}_{m}.jpg" for i in (1, 2) for m in methods} | {"report.html"}
    rows = {line.split("  ")[0]: line for line in result.stdout.splitlines()}
    points = {name: float(row.split("%")[0].split()[-1]) for name, row in rows.items() if "%" in row}
    assert set(points) == {*methods, "random pixel", "centre pixel"}
    assert points["gradcam"] > 80 and points["gradcam"] > 3 * points["random pixel"] > 0
    caption = " ".join(result.stdout.split("\nmethod  ")[0].split())
    assert "at most 16 times (gradient) or 200 times (black box)" in caption and "docs/methods.md" in caption


def test_maps_are_evaluated_by_their_peaks_and_mass():
    from keras_explainable.gallery import gallery

    masks = np.zeros((4, 4, 4), bool)
    masks[:, :2, :2] = True
    maps = np.zeros((4, 4, 4))
    maps[0, 0, 0], maps[0, 3, 3] = 3, 1  # peak on it, 3/4 of the mass
    maps[1, 1, 3], maps[1, 1, 1], maps[1, 2, 2] = 2, 1, -9  # peak beside it, 1/3 of the mass
    maps[2] = 5  # constant: a random pixel's 4/16 for both
    images = np.zeros((4, 4, 4, 3), "float32")
    zero = np.zeros(4, int)
    objects = gallery.Objects(zero, images, images, zero, masks, zero)

    def model(x):
        return np.asarray(x).sum(axis=(1, 2))

    found = gallery.judged(model, objects, {"mine": maps})  # the last has no positive value: no mass
    assert found["mine"] == pytest.approx([(1 + 0 + 0.25 + 0.25) / 4, (0.75 + 1 / 3 + 0.25) / 3])
    assert gallery.judged(model, objects, {"none": 0 * maps})["none"] == [0.25, None]
    random, centre = gallery.baselines(model, objects)
    assert (random.points, random.mass, centre.points, centre.mass) == (0.25, 0.25, 0.0, 0.0)


# Errors.


def test_words_that_are_not_right_end_with_2(photo):
    fails(run("explain"), 2, "Missing argument 'IMAGE'")
    fails(run("explain", photo, "--unit", "top-0"), 2, "--unit", "top-K")
    fails(run("explain", photo, "--unit", "striped disc"), 2, "Did you mean striped disk")
    fails(run("explain", photo, "--unit", "qqq"), 2, f"The nearest of its {len(ke.demo.CLASSES)} names: ")
    fails(run("compare", photo, "--unit", "top-2"), 2, "one unit of each image", "explain --unit top-2")
    fails(run("explain", photo, "--weights", "mine"), 2, "imagenet or none")
    fails(run("explain", photo, "--scale", "percent"), 2, "raw, unit, tf, torch, caffe")
    fails(run("explain", photo, "-m", "gradients", "--layer", "features"), 2, "the whole model")
    fails(run("demo", "--images", 0), 2, "--images")
    fails(run("explode"), 2, "explode")


def test_what_cannot_be_done_ends_with_1_and_one_line(photo, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.keras").write_bytes(b"PK\x03\x04")
    fails(run("explain", tmp_path / "none.png"), 1, "no image at")
    fails(run("explain", tmp_path / "text.png"), 1, "is not an image")
    fails(run("explain", photo, "--model", tmp_path / "cut.keras"), 1, "cut short")
    fails(run("explain", photo, "--model", "MobileNetV9"), 1, "Did you mean")
    fails(run("explain", photo, "--unit", "99"), 1, "99")
    fails(run("explain", photo, "--layer", "featurs"), 1, "features")
    fails(run("explain", photo, "--backend", OTHER), 1, f"KERAS_BACKEND={OTHER}")
    fails(run("layers", "qqq"), 1, "qqq")
    (tmp_path / "file").write_text("")
    fails(run("explain", photo, "--out", tmp_path / "file"), 1, "file")


def test_debug_shows_where(tmp_path):
    result = run("explain", tmp_path / "none.png", "--debug")
    assert isinstance(result.exception, ke.errors.ModelFileError)


def test_an_unexpected_error_is_one_line_too(photo, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("several\nlines")

    monkeypatch.setattr(ke, "explain", broken)
    fails(run("explain", photo), 1, "RuntimeError: several lines", "--debug")


@pytest.mark.very_slow
def test_backend_is_taken_by_the_program_whatever_the_environment_says(photo, tmp_path):
    pytest.importorskip(OTHER)
    result = program("explain", photo, "--backend", OTHER, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "photo_gradcam.png").exists()


@pytest.mark.very_slow
def test_without_typer_the_program_says_how_to_get_it():
    code = (
        "import sys\nfrom keras_explainable.cli import start\nsys.argv = ['keras-explainable', 'methods']\n"
        "start.find_spec = lambda name: None\nstart.main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 1 and 'pip install "keras-explainable[cli]"' in result.stderr
    assert "Traceback" not in result.stderr


def test_version():
    assert run("--version").stdout.strip() == f"keras-explainable {ke.__version__}"


def test_compare_puts_methods_side_by_side(photo, tmp_path):
    words = ["compare", photo, "-m", "gradcam", "-m", "attention_rollout", "-m", "gradients", "--out", tmp_path / "out"]
    made = run(*words)
    assert made.exit_code == 0, made.output
    assert "Left out: attention_rollout: No attention" in made.stderr
    (path,) = map(Path, made.stdout.split())
    sheet = np.asarray(Image.open(path))
    assert sheet.shape[1] > 3 * sheet.shape[0] * 0.8  # the photo and two maps in a row
    tiles = np.split(sheet[:224, : 3 * 224 + 16][:, np.r_[0:224, 232:456, 464:688]], 3, axis=1)
    assert not (tiles[0] == tiles[1]).all() and not (tiles[1] == tiles[2]).all()
    fails(run(*words[:2], "-m", "attention_rollout"), 1, "None of these methods")
    fails(run(*words[:2], "-m", "gradcan"), 2, "Did you mean gradcam?")


def test_compare_with_few_repetitions_tells_what_is_done(photo, tmp_path, monkeypatch):
    called, plain = {}, ke.explain

    def recorded(methods, *given, **shared):
        called.update(methods)
        return plain(methods, *given, **shared)

    monkeypatch.setattr(ke, "explain", recorded)
    words = ["compare", photo, "-m", "gradcam", "-m", "rise", "-m", "scorecam", "--repetitions", 3]
    made = run(*words, "--out", tmp_path / "out")
    assert made.exit_code == 0, made.output
    assert re.findall(r"^(\d/3) ([\w, ]+): [\d.]+ s$", made.stderr, re.M) == [
        ("2/3", "gradcam, scorecam"),
        ("3/3", "rise"),
    ]
    assert called == {
        "gradcam": ("gradcam", {}),
        "rise": ("rise", {"repetitions": 3}),
        "scorecam": ("scorecam", {"max_channels": 3}),
    }


def test_scores_are_the_images_own_whatever_a_method_sees(photo, tmp_path):
    out = ["--out", tmp_path / "out", "--unit", "1"]
    printed = run("explain", photo, "-m", "gradients", "-m", "smoothgrad", *out).stdout.splitlines()
    scores = {line.split()[1]: line.split()[-1] for line in printed if "_" in line and ".png" in line}
    assert scores["gradients"] == scores["smoothgrad"] and abs(float(scores["gradients"])) > 0.1


def test_what_is_no_image_is_refused_before_a_model_is_loaded(tmp_path):
    fails(run("explain", tmp_path, "--model", "missing.keras"), 1, "is a folder", "keras-explainable dump")
    fails(run("compare", tmp_path / "no.png", "--model", "missing.keras"), 1, "no image at")


@pytest.mark.parametrize("unit", ["-1", "top-0"])
def test_numbers_of_units_begin_with_0_and_ranks_with_1(photo, tmp_path, unit):
    fails(run("explain", photo, f"--unit={unit}", "--out", tmp_path), 2, "a number from 0", "K from 1")


def test_help_tells_what_repetitions_do():
    def text(command):
        return " ".join(run(command, "--help").stdout.replace("│", " ").split())

    assert "Methods without repetitions, such as occlusion and ablationcam" in text("compare")
    assert "fewer repetitions than by default: their numbers differ from docs/methods.md" in text("demo")


def test_compare_shows_what_is_done_when_it_is_stopped(photo, tmp_path, monkeypatch):
    plain = ke.explain

    def stop(methods, *given, **shared):
        if "occlusion" in methods:
            raise KeyboardInterrupt
        return plain(methods, *given, **shared)

    monkeypatch.setattr(ke, "explain", stop)
    words = ["compare", photo, "-m", "gradcam", "-m", "occlusion", "--out", tmp_path / "out"]
    made = run(*words)
    assert made.exit_code == 0 and Path(made.stdout.strip()).is_file(), made.output
    assert run(*words[:2], *words[4:]).exit_code != 0  # nothing is done
