"""The bytes of one image: gone and empty ones are set aside; what a store refuses is tried again, then raised."""

import errno
import os

import fsspec
import pytest

from support.selection import fast_on_torch

pytestmark = fast_on_torch

pytest.importorskip("pyarrow", reason="lists of images need pyarrow")
pytest.importorskip("PIL", reason="images are decoded by pillow")
sources = pytest.importorskip("keras_explainable.distributed.sources")
reading = pytest.importorskip("keras_explainable.distributed.sources.reading")
stores = pytest.importorskip("keras_explainable.distributed.sources.stores")


def whole(uri):
    return {"row": 0, "id": "a", "uri": uri, "offset": None, "length": None, "label": None}


def reason(uri):
    with pytest.raises(sources.SetAside) as found:
        sources.read(whole(uri))
    return found.value.reason


def test_a_file_is_read_as_it_is(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"any bytes")
    assert sources.read(whole(f"file://{tmp_path}/a.jpg")) == b"any bytes"


def test_gone_and_empty_files_are_set_aside(tmp_path):
    (tmp_path / "empty.jpg").touch()
    fsspec.filesystem("memory").pipe("/empty.jpg", b"")
    for root in (f"file://{tmp_path}", "memory://"):
        assert reason(f"{root}/gone.jpg") == "The file is gone."
        assert reason(f"{root}/empty.jpg") == "The file is empty."
        assert reason(f"{root}/empty.jpg/inside.jpg") == "The file is gone."
    assert reason(f"file://{tmp_path}") == "The file is gone."  # it is a folder now


def test_a_pipe_is_set_aside_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert reason(f"file://{tmp_path}/a.jpg") == "The file is a pipe or a device."


def test_of_a_large_file_no_more_is_read_than_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_BYTES", 5)
    for root, put in ((f"file://{tmp_path}/", tmp_path.joinpath), ("memory://", None)):
        for name, size in (("small.jpg", 5), ("large.jpg", 6)):
            put(name).write_bytes(b"1" * size) if put else fsspec.filesystem("memory").pipe(f"/{name}", b"1" * size)
        assert sources.read(whole(f"{root}small.jpg")) == b"11111"
        assert reason(f"{root}large.jpg") == "The file is too large: more than 5 bytes."


class Answer(Exception):
    """What a client of a store raises."""

    def __init__(self, **attributes):
        super().__init__("no")
        vars(self).update(attributes)


BUSY = {
    "503": Answer(status=503),
    "429": Answer(code=429),
    "of S3": Answer(response={"ResponseMetadata": {"HTTPStatusCode": 503}}),
    "of time": TimeoutError("too late"),
    "of the connection": ConnectionResetError(errno.ECONNRESET, "reset"),
    "as s3fs tells it": OSError(errno.EBUSY, "SlowDown"),
    "by its name": type("ReadTimeoutError", (Exception,), {})(),
}
REFUSED = {
    "403": Answer(status=403),
    "no permission": PermissionError(errno.EACCES, "Permission denied"),
    "broken disk": OSError(errno.EIO, "Input/output error"),
    "a mistake": KeyError("x"),
}


@pytest.fixture
def pauses(monkeypatch):
    found = []
    monkeypatch.setattr(stores.time, "sleep", found.append)
    return found


def failing(monkeypatch, errors):
    """A store whose first answers are these errors; the list gets shorter."""

    def cat_file(self, path, start=None, end=None, **_):
        if errors:
            raise errors.pop()
        return b"image"

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", cat_file)


@pytest.mark.parametrize("kind", BUSY)
def test_a_busy_store_is_asked_three_times_with_longer_pauses(monkeypatch, pauses, kind):
    failing(monkeypatch, [BUSY[kind]] * 2)
    assert sources.read(whole("memory://a.jpg")) == b"image"
    assert 0.5 <= pauses[0] <= 1.5 and 2 <= pauses[1] <= 6 and len(pauses) == 2
    failing(monkeypatch, left := [BUSY[kind]] * 4)
    with pytest.raises(type(BUSY[kind])):
        sources.read(whole("memory://a.jpg"))
    assert len(left) == 1 and len(pauses) == 4


@pytest.mark.parametrize("kind", REFUSED)
def test_what_will_not_change_is_raised_at_once(monkeypatch, pauses, kind):
    failing(monkeypatch, left := [REFUSED[kind]] * 2)
    with pytest.raises(type(REFUSED[kind])):
        sources.read(whole("memory://a.jpg"))
    assert len(left) == 1 and pauses == []


def test_a_cause_counts_and_what_was_left_behind_does_not(monkeypatch, pauses):
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = TimeoutError()
    failing(monkeypatch, [wrapped])
    assert sources.read(whole("memory://a.jpg")) == b"image" and len(pauses) == 1
    apart = RuntimeError("apart")
    apart.__context__, apart.__suppress_context__ = TimeoutError(), True
    failing(monkeypatch, [apart])
    with pytest.raises(RuntimeError, match="apart"):
        sources.read(whole("memory://a.jpg"))
