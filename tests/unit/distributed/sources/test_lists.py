"""Lists of image files: folders, patterns, lists and URLs; ids, order, addresses, and what is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from architecture.read_imports import SRC
from keras_explainable.errors import InputError
from support.selection import fast_on_torch

pytestmark = fast_on_torch

pa = pytest.importorskip("pyarrow", reason="lists of images need pyarrow")
fsspec = pytest.importorskip("fsspec", reason="files are reached by fsspec")
pytest.importorskip("PIL", reason="images are decoded by pillow")
sources = pytest.importorskip("keras_explainable.distributed.sources")
image_bytes = pytest.importorskip("support.image_bytes")
COLUMNS = {"row": pa.int64(), "id": pa.string(), "uri": pa.string(), "offset": pa.int64(), "length": pa.int64()}


def put(folder, *names):
    """Image files by these names, each with pixels of its own."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image_bytes.encoded(image_bytes.scene(i)))


def ids(table):
    kinds = {name: table.schema.field(name).type for name in COLUMNS}
    assert kinds == COLUMNS and table.column_names == [*COLUMNS, "label"]
    assert table["row"].to_pylist() == list(range(table.num_rows))
    return table["id"].to_pylist()


def seeds(table, options=None):
    """The seed of the pixels of each row, by reading and decoding it."""
    scenes = [image_bytes.scene(i) for i in range(9)]
    found = [sources.decode(sources.read(row, options), image_bytes.SIDES, 3, "exact") for row in table.to_pylist()]
    return [next(i for i, one in enumerate(scenes) if np.array_equal(one, pixels)) for pixels in found]


def test_a_folder_is_listed_by_paths_in_their_order(tmp_path):
    put(tmp_path, "b/same.png", "a/same.png", "z.PNG", "a b#c%20?é.png")
    (tmp_path / "notes.txt").write_text("no image")
    table = sources.listing(tmp_path)
    assert ids(table) == ["a b#c%20?é.png", "a/same.png", "b/same.png", "z.PNG"]
    assert seeds(table) == [3, 1, 0, 2]
    assert {table[name].null_count for name in ("offset", "length", "label")} == {4}
    assert ids(sources.listing(f"file://{tmp_path}/")) == ids(table)


def test_a_url_is_listed_as_a_folder_is():
    store = fsspec.filesystem("memory")
    for i, name in enumerate(("x/b.jpg", "x/a/c.jpg", "x/readme.md")):
        store.pipe(f"/kx/{name}", image_bytes.encoded(image_bytes.scene(i)))
    table = sources.listing("memory://kx")
    assert ids(table) == ["x/a/c.jpg", "x/b.jpg"] and table["uri"][0].as_py() == "memory:///kx/x/a/c.jpg"
    assert seeds(table) == [1, 0]


def test_links_are_followed_and_circles_are_not(tmp_path):
    put(tmp_path, "photos/a.png", "elsewhere/b.png")
    (tmp_path / "photos/loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/more").symlink_to(tmp_path / "elsewhere")
    assert ids(sources.listing(tmp_path / "photos")) == ["a.png", "more/b.png"]


def test_patterns_name_several_files(tmp_path):
    put(tmp_path, "p/cat-08.png", "p/cat-09.png", "p/cat-10.png", "q/cat-09.png")
    assert ids(sources.listing(f"{tmp_path}/p/cat-{{09..10}}.png")) == ["cat-09.png", "cat-10.png"]
    assert ids(sources.listing(f"{tmp_path}/{{p,q}}/*09.png")) == ["p/cat-09.png", "q/cat-09.png"]
    assert ids(sources.listing(f"{tmp_path}/p/cat-08.png")) == ["cat-08.png"]


def test_a_file_that_looks_like_a_pattern_is_a_file(tmp_path):
    put(tmp_path, "a[1]{2,3}.png")
    assert ids(sources.listing(f"{tmp_path}/a[1]{{2,3}}.png")) == ["a[1]{2,3}.png"]
    assert seeds(sources.listing(tmp_path)) == [0]


def test_a_list_is_named_as_it_is_and_needs_no_suffixes(tmp_path, monkeypatch):
    put(tmp_path, "b", "a::b.png")
    monkeypatch.chdir(tmp_path)
    table = sources.listing(["b", tmp_path / "a::b.png"])
    assert ids(table) == [f"{tmp_path}/a::b.png", "b"]
    monkeypatch.chdir("/")  # workers run elsewhere
    assert seeds(table) == [1, 0]


def test_an_id_that_comes_twice_is_refused_by_name(tmp_path):
    put(tmp_path, "a.png", "b.png")
    names = [f"{tmp_path}/{name}.png" for name in "abab"]
    with pytest.raises(InputError, match=r"Ids came more than once, '.*/a.png', '.*/b.png', and each image"):
        sources.listing(names)
    assert len(ids(sources.listing(names[:2]))) == 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("missing", "There is nothing at .*missing: check the path"),
        ("empty", "There is no image at .*empty: name files that end in .bmp, .gif, .*, .parquet, .tar"),
        ("packed", "has compressed tars, inside which no image can be reached: unpack them"),
        ([], "An empty list came as the source"),
        (7, "A int came as the source, and a folder, a URL, or a list"),
        ([b"a.png"], "A bytes came as the source"),
        ("nowhere://bucket", "cannot be read: Protocol not known: nowhere"),
    ],
)
def test_what_holds_no_images_is_refused(tmp_path, source, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("no image")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/x.tar.gz").write_bytes(b"")
    given = tmp_path / source if isinstance(source, str) and "://" not in source else source
    with pytest.raises(InputError, match=said):
        sources.listing(given)


def test_image_files_have_no_columns(tmp_path):
    put(tmp_path, "a.png")
    with pytest.raises(InputError, match="unit_column='label' came, and .* which have no columns: leave both out"):
        sources.listing(tmp_path, unit_column="label")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text_is_refused(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb"):
        pass
    with pytest.raises(InputError, match=r"caf.*\.png came, and UTF-8 was expected: rename the file"):
        sources.listing(tmp_path)


def test_a_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    put(tmp_path, "a.png", "private/b.png")
    scan = os.scandir

    def refused(path):
        if str(path).endswith("private"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InputError, match="cannot be read: Permission denied. Check it"):
        sources.listing(tmp_path)


CODE = """
import json, sys
from keras_explainable.distributed import sources
row = sources.listing({folder!r}).to_pylist()[0]
pixels = sources.decode(sources.read(row), (8, 12), 3, "squash")
print(json.dumps([pixels.tolist(), sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""


def test_readers_load_no_keras(tmp_path):
    put(tmp_path, "a.png")
    code = CODE.format(folder=str(tmp_path))
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pixels, loaded = json.loads(done.stdout)
    np.testing.assert_array_equal(pixels, image_bytes.scene(0))
    assert {"keras", "tensorflow", "jax", "torch", "ray", "matplotlib"}.isdisjoint(loaded)
