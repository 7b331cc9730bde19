"""What is written: whole or not at all, through no link, over nothing, under names of its own, and shown as text."""

import base64
import errno
import os
import re
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import keras_explainable as ke

pytest.importorskip("typer")
from typer.testing import CliRunner

from keras_explainable import cli, loading
from keras_explainable.errors import InputError, OutputError
from keras_explainable.gallery import gallery, image_folder
from keras_explainable.viz import contact_sheet, image_files, output, tables
from keras_explainable.viz.html_report import Row, Subject, report
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled

Image = pytest.importorskip("PIL.Image", reason="image files need pillow")
HARMFUL = "a\x1b[2J\n\u202egnp.<b>\"'&"  # clears a terminal, begins a line, turns text around, is markup
HARMLESS = r"a\x1b[2J\n\u202egnp.<b>" + "\"'&"
UNDECODABLE = os.fsdecode(b"caf\xe9\xff")


def run(*words):
    return CliRunner().invoke(cli.app(), [str(word) for word in words])


@pytest.fixture
def put(tmp_path):
    scene = Image.fromarray(ke.demo.load_scenes(1, seed=7)[0][0])

    def at(name):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            scene.save(file, "png")
        return path

    return at


@pytest.fixture(scope="module")
def loaded():
    return loading.load(None)


def listed(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def refused(result, *words):
    """It ended with 1 and one line of these words."""
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr, result.stderr


# Nothing is replaced.


def test_what_exists_is_not_replaced_and_no_model_is_loaded(put, tmp_path):
    out, photos = tmp_path / "out", [put("a.png"), put("b.png")]
    out.mkdir()
    for name in ("a_gradcam.png", "b_gradcam.png", "report.html", "a_compared.png"):
        (out / name).write_text("mine")
    before = listed(out)
    (tmp_path / "no.keras").write_text("no model")
    words = ["--out", out, "--model", tmp_path / "no.keras"]
    refused(run("explain", *photos, *words), "a_gradcam.png exists, and 1 more", "--overwrite")
    refused(run("explain", photos[0], "-m", "gradients", "--report", *words), "report.html exists. ", "--overwrite")
    refused(run("compare", *photos, *words), "a_compared.png exists. ")
    assert listed(out) == before and {path.read_text() for path in out.iterdir()} == {"mine"}


def test_dump_and_the_demo_replace_nothing_either(put, loaded, tmp_path):
    put("a.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_gradcam.png").write_text("mine")
    (out / "scene-02_gradcam.jpg").write_text("mine")
    with pytest.raises(OutputError, match=r"a_gradcam\.png exists\. .*overwrite=True"):
        image_folder.make(loaded, tmp_path / "in", out, ["gradients", "gradcam"], progress=False)
    with pytest.raises(OutputError, match=r"scene-02_gradcam\.jpg exists"):
        gallery.make(out, images=2, progress=False, pictures=True)
    assert len(listed(out)) == 2 and {path.read_text() for path in out.iterdir()} == {"mine"}


def test_overwriting_is_asked_for(put, tmp_path):
    words = ["explain", put("a.png"), "--out", tmp_path / "out", "--report"]
    assert run(*words).exit_code == 0
    first = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    refused(run(*words), "a_gradcam.png exists, and 1 more")
    for path in first:
        path.write_text("old")
    assert run(*words, "--overwrite").exit_code == 0
    assert (tmp_path / "out" / "a_gradcam.png").read_bytes() == first[tmp_path / "out" / "a_gradcam.png"]
    assert (tmp_path / "out" / "report.html").read_text() != "old" and len(listed(tmp_path / "out")) == 2


def test_the_demo_made_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(ke.registry, "METHODS", {"gradients": ke.registry.METHODS["gradients"]})
    words = ["demo", "--images", 1, "--out", tmp_path / "demo", "--all", "--pictures"]
    for more in ([], ["--overwrite"]):
        assert run(*words, *more).exit_code == 0
        assert listed(tmp_path / "demo") == ["report.html", "scene-01_gradients.jpg"]
    again = run(*words)
    assert again.exit_code == 1 and "report.html exists, and 1 more" in again.stderr
    recipe = (Path(__file__).parents[2] / "Makefile").read_text()
    assert "keras_explainable.gallery --overwrite" in recipe  # `make demo`


# Links are not followed.


def test_a_link_in_the_place_of_a_file_is_replaced_and_what_it_leads_to_is_not(put, tmp_path):
    marker, out = tmp_path / "marker", tmp_path / "out"
    marker.write_text("mine")
    out.mkdir()
    for name, leads in {"a_gradcam.png": marker, "report.html": tmp_path / "nowhere"}.items():
        (out / name).symlink_to(leads)
    words = ["explain", put("a.png"), "--report", "--out", out]
    refused(run(*words), "exists, and 1 more")
    assert run(*words, "--overwrite").exit_code == 0
    assert marker.read_text() == "mine" and not (tmp_path / "nowhere").exists()
    assert not any(path.is_symlink() for path in out.iterdir())


def test_a_folder_inside_that_is_a_link_is_not_written_into(put, loaded, tmp_path):
    for name in ("a.png", "sub/b.png", "deep/er/c.png"):
        put(name)
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (out / "deep").mkdir(parents=True)
    (out / "sub").symlink_to(outside)
    (out / "deep" / "er").symlink_to(outside / "new")
    for overwrite in (False, True):
        made = image_folder.make(loaded, tmp_path / "in", out, ["gradcam"], progress=False, overwrite=overwrite)
        assert [path.name for path in made.pictures] == ["a_gradcam.png"]
        assert set(made.left_out) == {"sub/b.png", "deep/er/c.png"} and "is a link" in made.left_out["sub/b.png"]
        assert listed(outside) == [] and not (outside / "new").exists()


# Names.


@pytest.mark.parametrize(
    ("names", "endings", "expected"),
    [
        (["a", "a_smooth"], ["_smooth_gradcampp.png", "_gradcampp.png"], ["a", "a_smooth-2"]),
        (["a", "A", "a-2"], ["_x.png"], ["a", "A-2", "a-2-2"]),
        (
            ["stra\u00dfe", "STRASSE", "caf\u00e9", "cafe\u0301"],
            [""],
            ["stra\u00dfe", "STRASSE-2", "caf\u00e9", "cafe\u0301-2"],
        ),
        (
            ["b/a", "B/A", "c/a", UNDECODABLE, UNDECODABLE],
            [""],
            ["b/a", "B/A-2", "c/a", UNDECODABLE, UNDECODABLE + "-2"],
        ),
    ],
)
def test_no_two_results_share_a_name(names, endings, expected):
    assert output.distinct(names, endings) == expected


def test_no_two_pictures_share_a_name_on_the_command_line(put, tmp_path):
    photos = [put("a.png"), put("a_smooth.png"), put("b/A.png")]
    made = run(
        "explain", *photos, "-m", "gradcam", "-m", "smooth_gradcampp", "-m", "gradcampp", "--out", tmp_path / "out"
    )
    assert made.exit_code == 0, made.output
    names = listed(tmp_path / "out")
    assert len({name.casefold() for name in names}) == 9
    assert all(name in made.stdout for name in names)


def test_names_are_shown_as_text(put, tmp_path):
    made = run("explain", put(HARMFUL + ".png"), "--out", tmp_path / "out", "--report", "--fit", "crop")
    assert made.exit_code == 0, made.output
    assert (tmp_path / "out" / f"{HARMFUL}_gradcam.png").exists()
    assert HARMLESS + "_gradcam.png" in made.stdout and len(made.stdout.splitlines()) == 4
    bad = tmp_path / "in" / f"{HARMFUL}2.png"
    bad.write_text("no image")
    put(HARMFUL + "3.png")
    for words in (["explain", bad], ["compare", bad, put("good.png")], ["dump", tmp_path / "in"]):
        printed = run(*words, "-m", "gradcam", "--out", tmp_path / words[0])
        assert printed.exit_code == 1 and HARMLESS + "2.png is not an image" in printed.output, printed.output
        assert "\x1b" not in printed.output and "\u202e" not in printed.output
        assert not [line for line in printed.output.splitlines() if line.startswith(("\\u202e", "gnp"))]


def test_names_that_are_not_utf_8_work_from_end_to_end(put, tmp_path):
    photo, out = put(UNDECODABLE + ".png"), tmp_path / "out"
    made = run("explain", photo, "--out", out, "--report")
    assert made.exit_code == 0 and r"caf\udce9\udcff_gradcam.png" in made.stdout, made.output
    assert listed(out) == [UNDECODABLE + "_gradcam.png", "report.html"]
    assert r"caf\udce9\udcff" in (out / "report.html").read_text("utf-8")
    assert run("compare", photo, "-m", "gradcam", "--out", out).exit_code == 0
    dumped = run("dump", tmp_path / "in", "-m", "gradcam", "--out", tmp_path / "dumped")
    assert dumped.exit_code == 0 and r"caf\udce9\udcff_gradcam.png" in dumped.stdout
    assert listed(tmp_path / "dumped") == [UNDECODABLE + "_gradcam.png"]
    photo.write_text("no image")
    refused(run("explain", photo), r"caf\udce9\udcff.png is not an image")


@pytest.mark.parametrize("command", ["dump", "explain", "compare"])
def test_a_name_that_is_too_long_leaves_the_others_pictures(put, tmp_path, command):
    photos = [put("a.png"), put("n" * 251 + ".png"), put("z.png")]
    given = [tmp_path / "in"] if command == "dump" else photos
    made = run(command, *given, "-m", "gradcam", "--out", tmp_path / "out")
    assert made.exit_code == 1, made.output
    assert len(listed(tmp_path / "out")) == 2
    (line,) = [line for line in made.output.splitlines() if line.startswith("Left out")]
    assert "nnn.png: " in line and "is too long for" in line


@pytest.mark.parametrize("command", ["dump", "explain", "compare"])
def test_an_image_that_cannot_be_read_leaves_the_others_pictures(put, tmp_path, command, monkeypatch):
    photos = [put(name) for name in ("a.png", "bad.png", "large.png", "memory.png", "z.png")]
    photos[1].write_text("no image")
    Image.new("RGB", (300, 300)).save(photos[2])
    plain = image_files._pixels
    size = Image.open(photos[0]).size

    def full(file):
        if file.size != size:
            raise MemoryError
        return plain(file)

    monkeypatch.setattr(image_files, "_pixels", full)
    Image.new("RGB", (200, 200)).save(photos[3])
    given = [tmp_path / "in"] if command == "dump" else photos
    made = run(command, *given, "-m", "gradcam", "--out", tmp_path / "out", "--max-pixels", 80_000)
    assert made.exit_code == 1, made.output
    assert len(listed(tmp_path / "out")) == 2
    printed = [line for line in made.output.splitlines() if line.startswith("Left out")]
    assert [re.search(r"is not an image|--max-pixels|more memory", line)[0] for line in printed] == [
        "is not an image",
        "--max-pixels",
        "more memory",
    ]


# Whole or not at all.


def test_a_report_that_fails_leaves_the_old_one_whole(put, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("old")
    (out / "a_gradcam.png").write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    refused(run("explain", put("a.png"), "--out", out, "--report", "--overwrite"), "cannot be written: No space left")
    assert {path.name: path.read_text() for path in out.iterdir()} == {"report.html": "old", "a_gradcam.png": "old"}


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError("?")]
)
def test_a_file_that_is_half_written_is_not_there(tmp_path, error):
    def half(file):
        file.write(b"half")
        raise error

    (tmp_path / "a.png").write_text("old")
    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        output.write(tmp_path / "a.png", half)
    assert listed(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_text() == "old"


def test_files_can_be_read_by_whom_the_user_lets(tmp_path):
    before = os.umask(0o027)
    try:
        path = contact_sheet.save_sheet([(np.zeros((4, 4, 3), "uint8"), "")], tmp_path / "a.jpg")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640 and Image.open(path).format == "JPEG"


def test_folders_that_will_not_do(put, tmp_path, monkeypatch):
    photo = put("a.png")
    (tmp_path / "file").write_text("mine")
    no_model = tmp_path / "no.keras"
    no_model.write_text("no model")
    for out in ("file", "file/in/it"):
        words = ["--out", tmp_path / out, "--model", no_model]
        refused(run("explain", photo, *words), "file is a file, and a folder")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for out in ("loop", "n" * 300):
        refused(run("explain", photo, "--out", tmp_path / out, "--model", no_model), "cannot be written into: ")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    refused(run("explain", photo, "--out", tmp_path / "link"), "cannot be written")
    assert not (tmp_path / "nowhere").exists() and (tmp_path / "file").read_text() == "mine"
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)  # tests may run as root
    refused(run("explain", photo, "--out", tmp_path / "out", "--model", no_model), "cannot be written into")


def test_what_the_system_refuses_is_an_error_of_both_kinds():
    error = OutputError("Not here.")
    assert isinstance(error, OSError) and isinstance(error, ke.errors.ExplainError) and str(error) == "Not here."


# The report.


def test_the_report_runs_its_own_script_only():
    marked = '</script><script>document.title = "marker"</script><img src=x onerror=alert(1)>'
    subject = Subject(np.zeros((4, 4, 3), "uint8"), marked, marked, marked)
    rows = [Row(marked, marked, marked, marked, maps=[np.eye(4)])]
    page = report(marked, marked, [subject], rows, [marked])
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert re.findall(r"<script[^>]*>", page) == ['<script type="application/json" id="data">', "<script>"]
    assert "unsafe-inline" not in policy.split("script-src")[1]
    attributes = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, given: attributes.extend(name for name, _ in given)
    parser.feed(page)
    assert attributes and not [name for name in attributes if name.startswith("on")]


def test_control_characters_are_shown_and_letters_of_the_world_are_not():
    assert (
        ke.errors.printable("\x00\x1b\r\n\t\x7f\x9b\u2028\u200b\udcff") == r"\x00\x1b\r\n\t\x7f\x9b\u2028\u200b\udcff"
    )
    for name in ("Z\u00fcrich \u6771\u4eac\u3000\U0001f408.png", "cafe\u0301", r"C:\new"):
        assert ke.errors.printable(name) == name
    assert "\x1b" not in tables.table(["\x1b"], [["\x1b"]])[2:]


def test_a_name_inside_the_folder_is_all_that_is_written(tmp_path):
    place = output.Out(tmp_path / "out")
    for name in ("../marker", "a/../../marker", str(tmp_path / "marker")):
        with pytest.raises(InputError, match="outside"):
            place.write(name, lambda file: file.write(b"x"))
    assert not (tmp_path / "marker").exists() and not (tmp_path / "out").exists()
    assert place.write("a/b..png", lambda file: file.write(b"x")) == Path(tmp_path / "out" / "a" / "b..png")
