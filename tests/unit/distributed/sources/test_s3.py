"""Sources in S3: a real client, and a server on this machine that also answers with errors."""

import io
import logging
import tarfile

import pytest

from keras_explainable.errors import InputError
from support.selection import slow

pytestmark = slow

pa = pytest.importorskip("pyarrow", reason="lists of images need pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("PIL", reason="images are decoded by pillow")
for needed in ("s3fs", "moto", "boto3", "flask_cors"):
    pytest.importorskip(needed, reason=f"the S3 server needs {needed}: make test-all installs requirements/s3.txt")
sources = pytest.importorskip("keras_explainable.distributed.sources")
stores = pytest.importorskip("keras_explainable.distributed.sources.stores")
s3_server = pytest.importorskip("support.s3_server")
image_bytes = pytest.importorskip("support.image_bytes")


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_server.running() as server:
        yield server


@pytest.fixture(autouse=True)
def pauses(server, monkeypatch):
    server.asked.clear()
    server.faults.clear()
    found = []
    monkeypatch.setattr(stores.time, "sleep", found.append)
    return found


def listed(server, path, **how):
    return sources.listing(f"s3://photos/{path}", storage_options=server.options, **how)


def contents(server, table):
    return {row["id"]: sources.read(row, server.options) for row in table.to_pylist()}


def test_a_folder_is_listed_and_each_image_is_one_request(server):
    images = {f"f/{name}": image_bytes.encoded(image_bytes.scene(i)) for i, name in enumerate(("b.png", "a/c d+%.png"))}
    server.put({**images, "f/notes.txt": b"", "fx/other.png": b"other"})
    table = listed(server, "f")
    assert table["id"].to_pylist() == ["a/c d+%.png", "b.png"]
    assert table["uri"].to_pylist() == ["s3://photos/f/a/c d+%.png", "s3://photos/f/b.png"]
    server.asked.clear()
    assert contents(server, table) == {key.removeprefix("f/"): data for key, data in images.items()}
    assert server.asked == ["GET /photos/f/a/c d+%.png", "GET /photos/f/b.png"]


def test_what_was_added_after_a_listing_is_in_the_next(server):
    server.put({"n/a.png": b"a"})
    assert listed(server, "n").num_rows == 1
    server.put({"n/b.png": b"b"})
    assert listed(server, "n").num_rows == 2


def test_gone_and_empty_objects_are_set_aside(server):
    server.put({"g/a.png": b"a", "g/empty.png": b""})
    gone, empty = listed(server, "g").to_pylist()
    server.client.delete_object(Bucket="photos", Key="g/a.png")
    for row, why in ((gone, "The file is gone."), (empty, "The file is empty.")):
        with pytest.raises(sources.SetAside) as found:
            sources.read(row, server.options)
        assert found.value.reason == why


@pytest.mark.parametrize(("status", "code"), [(503, "ServiceUnavailable"), (500, "InternalError"), (429, "TooMany")])
def test_a_busy_store_is_asked_again(server, pauses, status, code):
    server.put({"t/a.png": b"image"})
    (row,) = listed(server, "t").to_pylist()
    server.asked.clear()
    server.faults["/t/a.png"] = (status, code, 2)
    assert sources.read(row, server.options) == b"image"
    assert server.asked == ["GET /photos/t/a.png"] * 3 and len(pauses) == 2


def test_a_store_that_stays_busy_is_told_and_sets_nothing_aside(server, pauses):
    server.put({"t/a.png": b"image"})
    (row,) = listed(server, "t").to_pylist()
    server.faults["/t/a.png"] = (503, "ServiceUnavailable", 99)
    with pytest.raises(OSError, match="told to") as found:
        sources.read(row, server.options)
    assert not isinstance(found.value, sources.SetAside) and len(pauses) == 2
    assert server.faults["/t/a.png"][2] == 96


def test_a_refusal_is_raised_at_once(server, pauses):
    server.put({"t/a.png": b"image"})
    (row,) = listed(server, "t").to_pylist()
    server.faults["/t/a.png"] = (403, "AccessDenied", 99)
    with pytest.raises(PermissionError, match="told to"):
        sources.read(row, server.options)
    assert server.faults["/t/a.png"][2] == 98 and pauses == []


def test_listing_asks_again_too_and_tells_what_it_may_not(server, pauses):
    server.put({"l/a.png": b"image"})
    server.faults["/photos"] = (503, "ServiceUnavailable", 2)
    assert listed(server, "l").num_rows == 1 and len(pauses) >= 1
    server.faults["/photos"] = (403, "AccessDenied", 99)
    with pytest.raises(InputError, match="s3://photos/l cannot be read: .*told to"):
        listed(server, "l")


def test_there_is_nothing_at_a_wrong_address(server):
    for path in ("s3://photos/nowhere", "s3://no-such-bucket/x"):
        with pytest.raises(InputError, match=f"There is nothing at {path}: check the path, the bucket"):
            sources.listing(path, storage_options=server.options)


def test_a_parquet_file_is_read_through_once(server, tmp_path):
    images = [b"image %d" % i * 1000 for i in range(300)]
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet", row_group_size=100)
    server.put({"p/a.parquet": (tmp_path / "a.parquet").read_bytes()})
    table = listed(server, "p")
    server.asked.clear()
    assert list(contents(server, table).values()) == images
    assert sum(one.startswith("GET") for one in server.asked) <= 4


def test_tars_are_read_by_ranges(server):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in range(3):
            info = tarfile.TarInfo(f"{i}.jpg")
            info.size = 3000 + i
            tar.addfile(info, io.BytesIO(b"%d" % i * info.size))
    server.put({f"w/x-{n}.tar": buffer.getvalue() for n in (0, 1)})
    table = listed(server, "w/x-{0..1}.tar")
    server.asked.clear()
    expected = {f"x-{n}.tar/{i}": b"%d" % i * (3000 + i) for n in (0, 1) for i in range(3)}
    assert contents(server, table) == expected
    assert len(server.asked) == 6
    server.put({"w/x-0.tar": b"", "w/x-1.tar": b"1"})
    for row in table.to_pylist():
        with pytest.raises(sources.SetAside, match="The file has changed since it was listed"):
            sources.read(row, server.options)


def test_a_server_that_is_not_there_is_told_after_three_tries(server, pauses):
    options = server.options | {"endpoint_url": "http://127.0.0.1:9"}
    row = {"id": "a", "uri": "s3://photos/a.png", "offset": None, "length": None}
    with pytest.raises(Exception, match="(?i)connect"):
        sources.read(row, options)
    assert len(pauses) == 2
