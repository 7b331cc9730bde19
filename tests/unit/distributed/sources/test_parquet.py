"""Images in Parquet files: ids and labels of the rows, and each row read alone without reading its file anew."""

import threading
import warnings

import numpy as np
import pytest

from keras_explainable.errors import InputError
from support.selection import fast_on_torch

pytestmark = fast_on_torch

pa = pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
fsspec = pytest.importorskip("fsspec", reason="files are reached by fsspec")
pytest.importorskip("PIL", reason="images are decoded by pillow")
sources = pytest.importorskip("keras_explainable.distributed.sources")
parquet_files = pytest.importorskip("keras_explainable.distributed.sources.parquet_files")
parquet_rows = pytest.importorskip("keras_explainable.distributed.sources.parquet_rows")


@pytest.fixture(autouse=True)
def no_readers():
    parquet_rows._readers.clear()


def content(i):
    return b"image %d" % i


def written(path, count, first=0, column="image", group=10, wrap=lambda data: data, **columns):
    """A file of `count` rows, whose images say which they are."""
    images = [wrap(content(i)) for i in range(first, first + count)]
    names = {"name": [f"n{i}" for i in range(first, first + count)], "label": list(range(first, first + count))}
    pq.write_table(pa.table({column: images, **names, **columns}), path, row_group_size=group)
    return path


def contents(table):
    return [sources.read(row) for row in table.to_pylist()]


def test_rows_of_several_files_are_named_by_file_and_row(tmp_path):
    (tmp_path / "deep").mkdir()
    written(tmp_path / "deep/b.parquet", 12, first=3)
    written(tmp_path / "a.parquet", 3)
    (tmp_path / "readme.md").write_text("no image")
    table = sources.listing(tmp_path)
    assert table["id"].to_pylist() == [
        *(f"a.parquet/{i}" for i in range(3)),
        *(f"deep/b.parquet/{i:02d}" for i in range(12)),
    ]
    assert table["id"].to_pylist() == sorted(table["id"].to_pylist())
    assert table["row"].to_pylist() == list(range(15)) and table["length"].null_count == 15
    assert contents(table) == [content(i) for i in range(15)]
    assert contents(sources.listing(f"{tmp_path}/*.parquet")) == [content(i) for i in range(3)]
    assert contents(sources.listing([f"{tmp_path}/a.parquet"])) == [content(i) for i in range(3)]


def test_columns_give_ids_and_labels_and_rows_keep_their_order(tmp_path):
    """Sorted by id, the rows of a part would lie all over the file, and each would be read from its row group's start."""
    written(tmp_path / "a.parquet", 4, name=["d", "b", "c", "a"])
    table = sources.listing(tmp_path, id_column="name", unit_column="label")
    assert table["id"].to_pylist() == ["d", "b", "c", "a"] and table["label"].to_pylist() == [0, 1, 2, 3]
    assert contents(table) == [content(i) for i in range(4)]
    numbers = sources.listing(tmp_path, id_column="label", unit_column="name")
    assert numbers["id"].to_pylist() == ["0", "1", "2", "3"] and numbers["label"].to_pylist() == ["d", "b", "c", "a"]


def test_images_lie_where_hugging_face_puts_them(tmp_path):
    written(tmp_path / "a.parquet", 25, column="photo", wrap=lambda data: {"bytes": data, "path": "x.jpg"})
    table = sources.listing(tmp_path, column="photo")
    assert contents(table) == [content(i) for i in range(25)]
    large = pa.table({"image": pa.array([content(0)], pa.large_binary())})
    pq.write_table(large, tmp_path / "a.parquet")
    assert contents(sources.listing(tmp_path)) == [content(0)]


def test_rows_without_an_image_are_set_aside(tmp_path):
    rows = [{"bytes": None, "path": "x.jpg"}, None, {"bytes": b"", "path": None}, {"bytes": b"yes", "path": None}]
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet")
    table = sources.listing(tmp_path).to_pylist()
    for row, why in zip(table, ["The row has no bytes of an image."] * 2 + ["The file is empty."], strict=False):
        with pytest.raises(sources.SetAside, match=why):
            sources.read(row)
    assert sources.read(table[3]) == b"yes"


def test_what_cannot_be_listed_is_refused(tmp_path):
    written(tmp_path / "a.parquet", 4, name=["a", "b", "a", "b"], none=[None, "x", "y", "z"], url=["http://x"] * 4)
    for how, said in {
        ("column", "photo"): "a.parquet has no column 'photo'. It has image, name, label, none, url: name one",
        ("id_column", "key"): "a.parquet has no column 'key'",
        ("unit_column", "class"): "a.parquet has no column 'class'",
        (
            "column",
            "url",
        ): "has string, and bytes, or a struct with `bytes`, were expected. Of paths or URLs, give the list",
        ("id_column", "name"): "Ids came more than once, 'a', 'b', and each image needs its own",
        ("id_column", "none"): "1 rows of a.parquet have no id",
    }.items():
        with pytest.raises(InputError) as found:
            sources.listing(tmp_path, **dict([how]))
        assert said in str(found.value)
    (tmp_path / "a.parquet").write_bytes(b"this is no Parquet file")
    with pytest.raises(InputError, match="a.parquet cannot be read as Parquet"):
        sources.listing(tmp_path)
    with pytest.raises(InputError, match="There is no file b-1.parquet at .*: check the pattern"):
        sources.listing(f"{tmp_path}/b-{{1..2}}.parquet")


class Counted:
    """How many rows are read from files, and how often a file is opened."""

    def __init__(self, monkeypatch):
        self.rows = self.opened = 0
        batches, opened = pq.ParquetFile.iter_batches, parquet_rows.opened

        def iter_batches(file, *args, **kwargs):
            for batch in batches(file, *args, **kwargs):
                self.rows += len(batch)
                yield batch

        def open_file(*args):
            self.opened += 1
            return opened(*args)

        monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
        monkeypatch.setattr(parquet_rows, "opened", open_file)


def test_a_part_read_in_order_reads_each_row_once_and_opens_its_file_once(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "MOST_ROWS", 7)
    table = sources.listing(written(tmp_path / "a.parquet", 1000, group=100))
    counted = Counted(monkeypatch)
    assert contents(table[:320]) == [content(i) for i in range(320)]
    assert counted.rows <= 327 and counted.opened == 1
    assert contents(table[700:710]) == [content(i) for i in range(700, 710)]  # another part: from its row group on
    assert counted.rows <= 350


def test_threads_that_are_a_little_out_of_order_read_each_row_once(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(parquet_rows, "MOST_ROWS", 5)
    rows = sources.listing(written(tmp_path / "a.parquet", 400, group=200)).to_pylist()
    shuffled = [rows[i] for at in range(0, 400, 8) for i in at + rng.permutation(8)]
    counted, found = Counted(monkeypatch), {}

    def work(thread):
        for row in shuffled[thread::4]:
            found[row["offset"]] = sources.read(row)
            turn.wait()

    turn = threading.Barrier(4)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == {i: content(i) for i in range(400)}
    assert counted.rows == 400 and counted.opened == 1


def test_any_order_gives_the_right_images_from_few_open_files(tmp_path, rng):
    for i in range(6):
        written(tmp_path / f"{i}.parquet", 60, first=60 * i, group=25)
    rows = sources.listing(tmp_path).to_pylist()
    for i in rng.permutation(360):
        assert sources.read(rows[i]) == content(i)
    assert len(parquet_rows._readers) == parquet_rows.READERS


def test_memory_holds_few_large_images(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "BATCH_BYTES", 3000)
    images = [bytes(1000) for _ in range(200)]
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet", use_dictionary=False, compression="none")
    assert set(contents(sources.listing(tmp_path))) == {bytes(1000)}
    (reader,) = parquet_rows._readers.values()
    assert 32 <= sum(len(values) for _, values in reader.kept) <= 36


def test_a_file_that_has_changed_is_seen_where_it_can_be(tmp_path):
    rows = sources.listing(written(tmp_path / "a.parquet", 20)).to_pylist()
    written(tmp_path / "a.parquet", 21)
    with pytest.raises(sources.SetAside, match="The Parquet file has changed since it was listed"):
        sources.read(rows[3])
    written(tmp_path / "a.parquet", 20, column="photo")
    with pytest.raises(sources.SetAside, match="The Parquet file has changed since it was listed"):
        sources.read(rows[3])
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(sources.SetAside, match="The file is gone"):
        sources.read(rows[3])


def test_damage_sets_aside_the_rows_it_hits_and_no_others(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.bytes(1000) for _ in range(40)]
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet", row_group_size=20, use_dictionary=False)
    rows = sources.listing(tmp_path).to_pylist()
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4:40] = b"\xff" * 36  # the header of the first page
    (tmp_path / "a.parquet").write_bytes(data)
    for _ in range(2):
        with pytest.raises(sources.SetAside, match="The Parquet file cannot be read"):
            sources.read(rows[3])
    assert [sources.read(row) for row in rows[20:]] == images[20:]


def test_a_store_that_fails_midway_is_asked_anew(tmp_path, monkeypatch):
    rows = sources.listing(written(tmp_path / "a.parquet", 60)).to_pylist()
    batches, broken = pq.ParquetFile.iter_batches, [True]

    def iter_batches(file, *args, **kwargs):
        for n, batch in enumerate(batches(file, 10, **kwargs)):
            if n == 2 and broken:
                broken.pop()
                raise TimeoutError
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    monkeypatch.setattr(sources.reading.stores.time, "sleep", lambda seconds: None)
    assert [sources.read(row) for row in rows] == [content(i) for i in range(60)] and not broken


def test_large_row_groups_are_warned_of(tmp_path, monkeypatch):
    written(tmp_path / "a.parquet", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sources.listing(tmp_path)
    monkeypatch.setattr(parquet_files, "MOST_BYTES", 10)
    with pytest.warns(
        UserWarning, match="a.parquet has row groups of more than .*write the file with row_group_size=1000"
    ):
        sources.listing(tmp_path)


def test_a_file_in_a_store_is_read_as_one_here(tmp_path):
    store = fsspec.filesystem("memory")
    store.pipe("/kp/a.parquet", written(tmp_path / "a.parquet", 33).read_bytes())
    table = sources.listing("memory://kp")
    assert table["id"].to_pylist()[-1] == "a.parquet/32"
    assert contents(table) == [content(i) for i in range(33)]
