"""Images that come in requests: what is taken, and the sentence for what is not."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")
from keras_explainable.web import uploads
from keras_explainable.web.refusals import Refused
from support.selection import fast_on_torch

pytestmark = [fast_on_torch, pytest.mark.filterwarnings("ignore::UserWarning")]
RNG = np.random.default_rng(0)
GOOD = np.kron(RNG.random((12, 16, 3)), np.ones((50, 50, 1)))  # (600, 800, 3)
PHOTO = Image.fromarray((GOOD * 255).astype("uint8"))


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def half(data):
    return data[: len(data) // 2]


def blank(width, height):
    """A PNG of zeros, which is small as a file."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(1), bytes(1 + width)
    data = b"".join([packer.compress(row) for _ in range(height)]) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_an_upload_is_cropped_or_stretched_and_says_so():
    found = uploads.decoded(saved(PHOTO, "PNG"), (96, 96), "crop")
    assert (
        found.pixels.shape == (96, 96, 3)
        and found.note == "800 x 600 cropped to its middle 600 x 600, scaled to 96 x 96"
    )
    assert uploads.decoded(saved(PHOTO, "PNG"), (96, 96), "stretch").note == "800 x 600 stretched to 96 x 96"
    assert uploads.decoded(saved(PHOTO, "PNG"), (60, 80), "crop").note == ""
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found.png))), found.pixels)


def test_the_name_is_that_of_the_content():
    one, other = (uploads.decoded(saved(PHOTO, "PNG", compress_level=n), (96, 96), "crop") for n in (1, 9))
    assert one.name == other.name
    assert uploads.decoded(saved(PHOTO, "PNG"), (96, 96), "stretch").name != one.name


def test_kinds_of_images_are_taken():
    exif = PHOTO.getexif()
    exif[0x0112] = 6  # rotated by a quarter
    for data in (
        saved(PHOTO, "JPEG"),
        saved(PHOTO, "WEBP"),
        saved(PHOTO, "JPEG", progressive=True),
        saved(PHOTO.convert("CMYK"), "JPEG"),
        saved(PHOTO.convert("RGBA"), "PNG"),
        saved(PHOTO.convert("P"), "PNG"),
        saved(PHOTO.convert("1"), "PNG"),
        saved(Image.fromarray((RNG.random((300, 300)) * 65535).astype("uint16")), "PNG"),
    ):
        assert uploads.decoded(data, (32, 48), "crop").pixels.shape == (32, 48, 3)
    upright = uploads.decoded(saved(PHOTO, "JPEG", exif=exif), (96, 96), "crop")
    assert upright.note.startswith("600 x 800 cropped")
    expected = np.asarray(PHOTO.rotate(-90, expand=True).crop((0, 100, 600, 700)).resize((96, 96)), float)
    assert np.abs(upright.pixels - expected).mean() < 4


@pytest.mark.parametrize(
    ("data", "why"),
    {
        "empty": (b"", "The file is empty"),
        "a program": (b"MZ" + RNG.bytes(4000), "This file is not an image, and a PNG, JPEG or WebP file was expected."),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "is not an image"),
        "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "is not an image"),
        "TIFF": (saved(PHOTO, "TIFF"), "is not an image"),
        "GIF": (saved(PHOTO, "GIF"), "is not an image"),
        "BMP": (saved(PHOTO, "BMP"), "is not an image"),
        "cut JPEG": (half(saved(PHOTO, "JPEG")), "cut short or damaged"),
        "cut PNG": (half(saved(PHOTO, "PNG")), "cut short or damaged"),
        "20,000 x 20,000": (blank(20_000, 20_000), "too large"),
        "9,000 x 9,000": (blank(9_000, 9_000), "too large, 81000000 pixels"),
        "one line": (saved(Image.new("RGB", (30_000, 1)), "PNG"), ""),
    }.values(),
    ids=lambda value: None,
)
def test_what_is_refused_is_refused_soon_and_in_a_sentence(data, why):
    start = time.perf_counter()
    try:
        found = uploads.decoded(data, (96, 96), "crop")
        assert why == "" and found.pixels.shape == (96, 96, 3)
    except Refused as error:
        assert why in str(error) and error.status == 400
        assert "Error" not in str(error) and "--" not in str(error) and "\n" not in str(error)
    assert time.perf_counter() - start < 3


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size():
    data = saved(Image.new("L", (10_000, 9_000), 77), "JPEG")
    found = uploads.decoded(data, (96, 96), "crop")
    assert found.note.startswith("10000 x 9000 cropped") and np.abs(found.pixels.astype(int) - 77).max() <= 2
    with pytest.raises(Refused, match="too large"):  # its coefficients must be held at once
        uploads.decoded(saved(Image.new("L", (10_000, 9_000)), "JPEG", progressive=True), (96, 96), "crop")


def test_a_scan_of_a_jpeg_costs_time():
    one = saved(PHOTO.resize((64, 64)), "JPEG", progressive=True)
    start = one.index(b"\xff\xda")
    end = one.index(b"\xff\xda", start + 2)
    with pytest.raises(Refused, match="scans"):
        uploads.decoded(one[:end] + one[start:end] * 200 + one[end:], (96, 96), "crop")
