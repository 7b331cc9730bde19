"""Images in WebDataset tars: samples, labels, places of bytes; tars that have changed or cannot be indexed."""

import io
import tarfile

import pytest

from keras_explainable.errors import InputError
from support.selection import fast_on_torch

pytestmark = fast_on_torch

pytest.importorskip("pyarrow", reason="lists of images need pyarrow")
fsspec = pytest.importorskip("fsspec", reason="files are reached by fsspec")
pytest.importorskip("PIL", reason="images are decoded by pillow")
sources = pytest.importorskip("keras_explainable.distributed.sources")


def written(path, files, form=tarfile.PAX_FORMAT, mode="w"):
    """A tar of these files: name -> contents."""
    with tarfile.open(path, mode, format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def contents(table):
    return {row["id"]: sources.read(row) for row in table.to_pylist()}


SAMPLES = {"b.jpg": b"B" * 700, "b.cls": b"1", "a.PNG": b"A", "a.cls": b"0\n", "d/a.jpg": b"D", "d/a.cls": b"7"}


def test_samples_are_named_by_tar_and_key(tmp_path):
    for i in range(8, 11):
        written(tmp_path / f"x-{i:03d}.tar", {name: data + b"%d" % i for name, data in SAMPLES.items()})
    table = sources.listing(f"{tmp_path}/x-{{008..010}}.tar")
    expected = {f"x-{i:03d}.tar/{key}" for i in range(8, 11) for key in ("a", "b", "d/a")}
    assert table["id"].to_pylist() == sorted(expected)
    assert contents(table)["x-009.tar/d/a"] == b"D9" and contents(table)["x-010.tar/b"] == b"B" * 700 + b"10"
    assert sources.listing(tmp_path).equals(table)
    with open(tmp_path / "x-009.tar", "rb") as file:  # the places are those of the bytes
        row = next(row for row in table.to_pylist() if row["id"] == "x-009.tar/b")
        file.seek(row["offset"])
        assert file.read(row["length"]) == b"B" * 700 + b"9"


def test_labels_are_the_texts_of_the_files_beside(tmp_path):
    written(tmp_path / "x.tar", SAMPLES)
    table = sources.listing(tmp_path / "x.tar", unit_column="cls")
    assert dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True)) == {
        "x.tar/a": 0,
        "x.tar/b": 1,
        "x.tar/d/a": 7,
    }
    written(tmp_path / "x.tar", SAMPLES | {"a.cls": b"cat"})
    assert sources.listing(tmp_path / "x.tar", unit_column="cls")["label"].to_pylist() == ["cat", "1", "7"]
    with pytest.raises(InputError, match=r"x.tar/b has no file .txt: name another unit_column"):
        sources.listing(tmp_path / "x.tar", unit_column="txt")


def test_of_several_images_of_a_sample_the_column_says_which(tmp_path):
    written(tmp_path / "x.tar", {"a.input.jpg": b"1", "a.mask.png": b"2", "a.json": b"{}", "b.input.jpg": b"3"})
    with pytest.raises(InputError, match=r"one of several images of a sample \(input.jpg, mask.png\): name one by"):
        sources.listing(tmp_path)
    assert contents(sources.listing(tmp_path, column="mask.png")) == {"x.tar/a": b"2"}
    assert contents(sources.listing(tmp_path, column="input.jpg")) == {"x.tar/a": b"1", "x.tar/b": b"3"}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_long_and_foreign_names_are_read_in_each_format(tmp_path, form):
    names = ["./a.jpg", f"{'deep/' * 18}{'n' * 60}.jpg", "café/naïve.jpg", f"{'d' * 80}/é.jpg"]
    written(tmp_path / "x.tar", {name: name.encode() for name in names}, form)
    expected = {f"x.tar/{name.removeprefix('./')[:-4]}": name.encode() for name in names}
    assert contents(sources.listing(tmp_path)) == expected


def test_a_tar_that_has_changed_gives_no_other_images(tmp_path):
    row = sources.listing(written(tmp_path / "x.tar", {"a.jpg": b"A" * 99, "b.jpg": b"B" * 99})).to_pylist()[1]
    for files in (
        {"b.jpg": b"B" * 99, "a.jpg": b"A" * 99},
        {"a.jpg": b"A" * 99, "b.jpg": b"B" * 98},
        {"a.jpg": b"A" * 999, "b.jpg": b"B" * 99},
        {},
    ):
        written(tmp_path / "x.tar", files)
        with pytest.raises(sources.SetAside, match="The file has changed since it was listed"):
            sources.read(row)
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(sources.SetAside, match="The file has changed since it was listed"):
        sources.read(row)
    (tmp_path / "x.tar").unlink()
    with pytest.raises(sources.SetAside, match="The file is gone"):
        sources.read(row)


def test_empty_images_are_set_aside(tmp_path):
    (row,) = sources.listing(written(tmp_path / "x.tar", {"a.jpg": b""})).to_pylist()
    with pytest.raises(sources.SetAside, match="The file is empty"):
        sources.read(row)


def test_what_cannot_be_indexed_is_refused(tmp_path):
    written(tmp_path / "x.tar", {"a.jpg": b"A" * 5000, "b.jpg": b"B" * 5000})
    whole = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[:4000])
    with pytest.raises(InputError, match="x.tar cannot be read as a tar: unexpected end of data. Is it whole"):
        sources.listing(tmp_path)
    written(tmp_path / "x.tar", {"a.jpg": b"A"}, mode="w:gz")
    with pytest.raises(InputError, match="x.tar cannot be read as a tar: .* Is it whole, and not compressed"):
        sources.listing(tmp_path)
    written(tmp_path / "x.tar", {"a.txt": b"A"})
    with pytest.raises(InputError, match="There is no image at .*: its files are empty"):
        sources.listing(tmp_path)
    with pytest.raises(InputError, match="There is no tar y-2.tar at .*: check the pattern"):
        sources.listing(f"{tmp_path}/y-{{2..3}}.tar")
    with pytest.raises(InputError, match="tars have no columns: their files' names are the ids"):
        sources.listing(tmp_path, id_column="key")


def test_one_name_twice_is_refused(tmp_path):
    """Not within a tar, where a later file replaces an earlier one: as two images of a sample."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(InputError, match=r"one of several images of a sample \(jpg, jpg\)"):
        sources.listing(tmp_path)


def test_a_tar_in_a_store_is_read_as_one_here(tmp_path):
    store = fsspec.filesystem("memory")
    store.pipe("/kt/x.tar", written(tmp_path / "x.tar", SAMPLES).read_bytes())
    expected = {"x.tar/a": b"A", "x.tar/b": b"B" * 700, "x.tar/d/a": b"D"}
    assert contents(sources.listing("memory://kt")) == expected
