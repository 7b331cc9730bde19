"""Images that mean harm: none runs a program, waits for ever or takes the memory, and none spoils the others' pictures."""

import contextlib
import io
import os
import signal
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from keras_explainable.errors import ExplainError, InputError, ModelFileError
from keras_explainable.gallery import image_folder
from keras_explainable.viz import contact_sheet, framing, image_files
from keras_explainable.viz.image_files import read_image
from support.selection import fast_on_torch

pytestmark = fast_on_torch

Image = pytest.importorskip("PIL.Image", reason="image files need pillow")
KINDS = {"bmp": {}, "gif": {}, "jpeg": {}, "png": {}, "tiff": {"compression": "tiff_lzw"}, "webp": {"lossless": True}}


@contextlib.contextmanager
def within(seconds):
    """Fail what takes longer, also where it waits for the system."""

    def ring(*_):
        pytest.fail(f"It took more than {seconds} s.")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def at_most(megabytes):
    """Fail what takes more memory than it had, at its highest."""

    def status(line):
        return int(Path("/proc/self/status").read_text().split(line)[1].split()[0]) // 1024

    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the highest mark of memory is known on Linux only")
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark
    before = status("VmRSS:")
    yield
    assert status("VmHWM:") - before < megabytes


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program of that name, which leaves a marker behind when it runs."""
    from PIL import EpsImagePlugin

    marker, folder = tmp_path / "marker", tmp_path / "bin"
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\necho ran > {marker}\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return marker


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


def test_postscript_named_png_is_no_image_and_runs_nothing(tmp_path, ghostscript):
    path = tmp_path / "photo.png"
    path.write_bytes(EPS)
    with contextlib.suppress(Exception):
        Image.open(path).load()
    assert ghostscript.exists()  # pillow by itself does run it
    ghostscript.unlink()
    with pytest.raises(ModelFileError, match=r"photo\.png is not an image, and a BMP, GIF, JPEG, PNG, TIFF or WebP"):
        read_image(path)
    assert not ghostscript.exists()


@pytest.mark.parametrize("kind", ["ppm", "tga", "ico", "pcx", "sgi", "dds", "jpeg2000"])
def test_formats_that_are_seldom_looked_after_are_no_images(tmp_path, kind):
    path = tmp_path / "photo.png"
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(buffer, kind)
    path.write_bytes(buffer.getvalue())
    assert Image.open(path).size == (16, 16)
    with pytest.raises(ModelFileError, match="is not an image"):
        read_image(path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_six_formats_are_read_whatever_their_names(tmp_path, kind):
    pixels = np.full((4, 6, 3), (200, 10, 30), "uint8")
    Image.fromarray(pixels).save(tmp_path / "photo", kind, **KINDS[kind])
    got = read_image(tmp_path / "photo")
    assert got.shape == (4, 6, 3) and abs(got.astype(int) - pixels).max() < 12


def test_what_never_ends_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero", "/dev/stdin"):
        with within(5), pytest.raises(ModelFileError, match="pipe or a device|cannot be read"):
            read_image(path)
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")
    os.symlink("nowhere", tmp_path / "lost.png")
    with within(5):
        samples = {sample.name: sample for sample in image_folder.find(tmp_path, tmp_path / "out")}
    assert sorted(samples) == ["good.png", "lost.png", "pipe.png"]  # each is told of, as left out or in a picture
    for name, why in (("pipe.png", "pipe or a device"), ("lost.png", "no image at")):
        with within(5), pytest.raises(ModelFileError, match=why):
            samples[name].read()


def test_what_the_system_does_not_give_is_told(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read: File name too long"):
        read_image(tmp_path / ("n" * 300))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, mode=2):
    """A PNG that says it is of that size, with little in it."""
    header = struct.pack(">IIBBBBB", width, height, 8, mode, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


def tiff(**tags):
    """A little-endian grey TIFF of the tags (number -> value) beside those that are always there."""
    known = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
    known |= {int(name[1:]): value for name, value in tags.items()}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(known.items()))
    return b"II*\0" + struct.pack("<L", 8) + struct.pack("<H", len(known)) + entries + struct.pack("<L", 0)


BOMBS = {
    "png": png(8000, 8000),
    "tiff": tiff(_256=8000, _257=8000, _278=8000, _279=64_000_000),
    "tiles": tiff(_322=30_000, _323=30_000, _324=8, _325=100),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 8000, 8000, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 8000, 8000, 0),
    "gif frame": b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 8000, 8000, 0),
    "bmp": b"BM" + struct.pack("<LHHLLLLHHLLLLLL", 99, 0, 0, 54, 40, 8000, 8000, 1, 24, 0, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_large_image_is_refused_by_its_header(tmp_path, monkeypatch, name):
    from PIL import ImageFile

    def decoded(*_):
        pytest.fail("It was decoded.")

    (tmp_path / "bomb.png").write_bytes(BOMBS[name] + b"\x02\x00\x3b")
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    with pytest.raises(ModelFileError, match=r"bomb.png is too large, \d+ pixels: .*--max-pixels \(max_pixels=\)"):
        read_image(tmp_path / "bomb.png")


def test_the_limit_is_what_one_says(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(ModelFileError, match="200 pixels: .* allow more than 199 pixels"):
        read_image(tmp_path / "a.png", max_pixels=199)


def test_a_file_of_few_pixels_and_many_bytes_is_refused(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    os.truncate(path, 10**9)  # with holes, that take no room
    with pytest.raises(ModelFileError, match="too large, 1000000000 bytes"):
        read_image(path)


def test_memory_that_is_not_there_is_told(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def full(_):
        raise MemoryError

    monkeypatch.setattr(image_files, "_pixels", full)
    with pytest.raises(ModelFileError, match="more memory than is available"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "F"])
def test_a_large_image_of_any_kind_takes_little_beside_its_pixels(tmp_path, mode):
    side = 4000
    kind = "tiff" if mode == "F" else "png"
    picture = Image.new(mode, (side, side), 1 if mode != "RGBA" else (1, 2, 3, 4))
    picture.save(tmp_path / "a", kind)
    del picture
    with at_most(24 * side * side // 2**20):  # calculated with floats at once, it is 90 bytes for each pixel
        assert read_image(tmp_path / "a").shape == (side, side, 3)


def test_a_jpeg_that_goes_over_its_pixels_for_ever_is_refused(tmp_path):
    buffer = io.BytesIO()
    thumbnail = b"Exif\0\0" + b"\xff\xda" * 200  # is none of its scans
    Image.new("L", (2000, 2000), 100).save(buffer, "jpeg", progressive=True, exif=thumbnail)
    data = buffer.getvalue()
    (tmp_path / "a.jpg").write_bytes(data + b"\xff\xda" * 200)  # nor is what stands behind the image
    assert read_image(tmp_path / "a.jpg").shape == (2000, 2000, 3)
    last = data.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(data[:last] + data[last:-2] * 10_000 + data[-2:])
    with within(5), pytest.raises(ModelFileError, match="a JPEG of more than 100 scans"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_a_tiff_in_millions_of_strips_is_refused(tmp_path, big, order):
    many = 1_000_000
    tags = {256: 1, 257: many, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1}
    layout, head = ("HHQQ", "HHHQQ") if big else ("HHLL", "HLH")
    start = [43, 8, 0, 16, len(tags)] if big else [42, 8, len(tags)]
    data = (b"II" if order == "<" else b"MM") + struct.pack(order + head, *start)
    for tag, value in tags.items():
        data += struct.pack(order + layout, tag, 4, many if tag == 273 else 1, 200 if tag == 273 else value)
    (tmp_path / "a.png").write_bytes(data.ljust(200, b"\0") + bytes(4 * many))
    with within(2), pytest.raises(ModelFileError, match="a.png is (a TIFF of more than 100000 parts|not an image)"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_in_thousands_of_strips_is_read(tmp_path, big, rng):
    pixels = rng.integers(0, 256, (5000, 2, 3), "uint8")
    profile = bytes(300_000)  # is no parts
    Image.fromarray(pixels).save(tmp_path / "a", "tiff", tiffinfo={278: 1}, big_tiff=big, icc_profile=profile)
    np.testing.assert_array_equal(read_image(tmp_path / "a"), pixels)


def test_only_the_first_of_many_frames_is_looked_at(tmp_path):
    frames = [Image.new("L", (2, 2), 50 * n) for n in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    data = (tmp_path / "a.gif").read_bytes()
    at = data.rindex(b"\x21\xf9")
    (tmp_path / "a.gif").write_bytes(data[:at] + data[at:-1] * 300_000 + b";")
    with within(5):
        assert read_image(tmp_path / "a.gif").shape == (2, 2, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_and_profiles_of_nonsense_do_not_matter(tmp_path):
    for name, more in {
        "exif.jpg": {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x12\x01" * 99},
        "turned.jpg": {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\xff\xff\0\0\0\0\0\0"},
        "profile.jpg": {"icc_profile": os.urandom(999)},
        "profile.png": {"icc_profile": b"acsp" * 999},
    }.items():
        Image.new("RGB", (6, 4)).save(tmp_path / name, **more)
        assert read_image(tmp_path / name).shape == (4, 6, 3), name


def test_a_folder_that_contains_itself_is_searched_once(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "b.png").symlink_to(tmp_path / "b.png")
    with within(5):
        samples = image_folder.find(tmp_path, tmp_path / "out")
    assert [sample.name for sample in samples] == ["a.png", "b.png"]
    with within(5), pytest.raises(ModelFileError, match="b.png cannot be read"):
        samples[1].read()


def test_folders_without_end_are_told(tmp_path, monkeypatch):
    def deep(*_):
        raise RecursionError

    monkeypatch.setattr(Path, "rglob", deep)
    with pytest.raises(InputError, match="too many folders inside one another"):
        image_folder.find(tmp_path, tmp_path / "out")


def test_a_long_and_narrow_image_does_not_become_a_large_one():
    line = np.zeros((1, 1_000_000, 3), "uint8")
    with within(5):
        for act in (
            lambda: framing.framed(line, (96, 96), "pad"),
            lambda: framing.covering(line, (96, 96)),
            lambda: contact_sheet.sheet([(line, "")]),
        ):
            with pytest.raises(InputError, match="1000000 x 1 is too long and narrow"):
                act()


# Random damage.

SEEDS, MANY, AT_ONCE = 100, 1000, 50


def sound(rng):
    """An image file of a random kind."""
    kind = rng.choice(list(KINDS))
    mode = rng.choice(["L", "RGB", "RGBA", "P", "1"] if kind not in ("jpeg", "bmp") else ["L", "RGB"])
    pixels = rng.integers(0, 256, (*rng.integers(1, 40, 2), 3), "uint8")
    picture, buffer = Image.fromarray(pixels).convert(mode), io.BytesIO()
    picture.save(buffer, kind, **KINDS[kind], **({"exif": Image.Exif()} if kind != "bmp" and kind != "gif" else {}))
    return bytearray(buffer.getvalue())


def mutated(seed):
    """A file with bytes flipped, filled, moved, lost or doubled, or with another's head."""
    rng = np.random.default_rng(seed)
    data = sound(rng)
    for _ in range(rng.integers(1, 6)):
        at, many = int(rng.integers(len(data))), int(rng.integers(1, 17))
        match rng.integers(7):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[min(at, 64)] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))  # where sizes stand
            case 2:
                data[at : at + many] = b"\xff" * many
            case 3:
                data[at : at + many] = rng.integers(0, 256, many, "uint8").tobytes()
            case 4:
                data[at:at] = data[at : at + many] * int(rng.integers(1, 2000))
            case 5:
                data = data[: max(16, at)]
            case 6:
                data[:16] = rng.choice([EPS[:16], *(bytes(sound(rng)[:16]) for _ in range(3)), b"P6 9999 9999 255"])
    return bytes(data)


@pytest.mark.parametrize(
    "start", [pytest.param(n, marks=pytest.mark.very_slow if n >= SEEDS else ()) for n in range(0, MANY, AT_ONCE)]
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_damaged_image_is_an_image_or_an_error_of_ours(tmp_path, ghostscript, start):
    path, read = tmp_path / "photo.png", 0
    for seed in range(start, start + AT_ONCE):
        path.write_bytes(mutated(seed))
        try:
            with within(10), at_most(1000):
                pixels = read_image(path)
        except ExplainError as error:
            assert str(path) in str(error), seed
        else:
            assert pixels.dtype == "uint8" and pixels.ndim == 3 and pixels.shape[2] == 3, seed
            read += 1
    assert not ghostscript.exists()
    assert AT_ONCE / 20 < read < AT_ONCE * 19 / 20  # both happen
