"""Bytes as pixels: of each kind of image the exact ones, and of each kind of rubbish the reason why there are none."""

import io

import numpy as np
import pytest

from keras_explainable import versions
from keras_explainable.errors import InputError, ModelFileError
from keras_explainable.viz import framing, image_files
from support.selection import fast_on_torch

pytestmark = fast_on_torch

Image = pytest.importorskip("PIL.Image", reason="images are decoded by pillow")
pytest.importorskip("pyarrow", reason="lists of images need pyarrow")
sources = pytest.importorskip("keras_explainable.distributed.sources")
image_bytes = pytest.importorskip("support.image_bytes")
SIDES, encoded, scene = image_bytes.SIDES, image_bytes.encoded, image_bytes.scene


def decoded(data, size=SIDES, channels=3, fit="exact"):
    pixels = sources.decode(data, size, channels, fit)
    assert pixels.dtype == "uint8" and pixels.shape == (*size, channels)
    return pixels


def reason(data, **how):
    with pytest.raises(sources.SetAside) as found:
        decoded(data, **how)
    assert found.value.reason == str(found.value)
    return found.value.reason


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "webp"])
def test_pixels_are_those_that_were_saved(kind):
    how = {"lossless": True} if kind == "webp" else {}
    np.testing.assert_array_equal(decoded(encoded(scene(), kind, **how)), scene())


def test_grey_is_the_same_in_each_channel():
    grey = scene()[..., 0]
    np.testing.assert_array_equal(decoded(encoded(grey)), np.repeat(grey[..., None], 3, -1))


def test_one_channel_is_the_luma_of_three():
    pixels = scene()
    expected = np.rint(0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2])
    np.testing.assert_array_equal(decoded(encoded(pixels), channels=1)[..., 0], expected)


def test_transparency_is_on_white():
    """255 - alpha (255 - value) / 255, in colour, in grey, and in a palette with a transparent colour."""
    pixels, alpha = scene(), scene(1)[..., :1]
    expected = np.rint(255 - alpha / 255 * (255.0 - pixels))
    np.testing.assert_array_equal(decoded(encoded(np.concatenate([pixels, alpha], -1))), expected)
    grey = np.concatenate([pixels[..., :1], alpha], -1)
    np.testing.assert_array_equal(decoded(encoded(grey)), np.repeat(expected[..., :1], 3, -1))
    palette = Image.fromarray((np.arange(96) % 2).reshape(SIDES).astype("uint8"), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=1)
    np.testing.assert_array_equal(decoded(buffer.getvalue())[0, :2], [[10, 20, 30], [255, 255, 255]])


def test_palettes_are_resolved():
    palette = Image.fromarray((np.arange(96) % 2).reshape(SIDES).astype("uint8"), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    buffer = io.BytesIO()
    palette.save(buffer, "PNG")
    np.testing.assert_array_equal(decoded(buffer.getvalue())[0, :2], [[10, 20, 30], [40, 50, 60]])


def test_sixteen_bits_keep_their_range():
    grey = scene()[..., 0]
    np.testing.assert_array_equal(decoded(encoded(grey.astype("uint16") * 257))[..., 1], grey)
    pixels = scene()
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in pixels)
    np.testing.assert_array_equal(decoded(image_bytes.png(12, 8, 16, 2, rows)), pixels)


def test_inks_become_colours():
    inks = np.zeros((*SIDES, 4), "uint8")
    inks[0, 0], inks[0, 1], inks[0, 2] = [255, 0, 0, 0], [0, 0, 0, 255], [0, 255, 255, 0]
    buffer = io.BytesIO()
    Image.fromarray(inks, "CMYK").save(buffer, "TIFF")
    expected = [[0, 255, 255], [0, 0, 0], [255, 0, 0], [255, 255, 255]]
    np.testing.assert_array_equal(decoded(buffer.getvalue())[0, :4], expected)
    buffer = io.BytesIO()
    Image.new("CMYK", (12, 8), (255, 0, 0, 0)).save(buffer, "JPEG", quality=100)
    assert np.abs(decoded(buffer.getvalue()) - np.array([0, 255, 255])).max() <= 2


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 3), (8, 1)])
def test_exif_turns_the_image_upright(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = scene()
    upright = np.rot90(pixels, turn)
    np.testing.assert_array_equal(decoded(encoded(pixels, exif=exif), size=upright.shape[:2]), upright)


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_of_several_pictures_the_first_is_taken(kind):
    first, second = (Image.new("RGB", (12, 8), color) for color in ((255, 0, 0), (0, 0, 255)))
    buffer, how = io.BytesIO(), {"lossless": True} if kind == "webp" else {}
    first.save(buffer, kind, save_all=True, append_images=[second], **how)
    assert (decoded(buffer.getvalue()) == [255, 0, 0]).all()


def test_a_single_pixel_fills_the_image():
    pixel = np.array([[[10, 20, 30]]], "uint8")
    for fit in ("squash", "crop"):
        assert (decoded(encoded(pixel), fit=fit) == [10, 20, 30]).all()


def test_another_size_is_made_to_fit():
    pixels = scene(size=(8, 20))
    squashed = np.asarray(Image.fromarray(pixels).resize((12, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decoded(encoded(pixels), fit="squash"), squashed)
    np.testing.assert_array_equal(decoded(encoded(pixels), fit="crop"), pixels[:, 4:16])
    assert reason(encoded(pixels)) == 'The image is 20 x 8, and 12 x 8 was expected (fit="exact").'


def test_pixels_are_those_of_the_command_explain(tmp_path):
    """A large JPEG too: it is not read at a fraction of its size."""
    (tmp_path / "photo.jpg").write_bytes(data := encoded(scene(size=(300, 500)), "jpeg", quality=90))
    read = image_files.read_image(tmp_path / "photo.jpg")
    for fit, theirs in (("squash", "stretch"), ("crop", "crop")):
        expected = framing.resized(framing.framed(read, SIDES, theirs), SIDES)
        np.testing.assert_array_equal(decoded(data, fit=fit), expected)


@pytest.mark.parametrize("kind", ["png", "bmp", "gif", "jpeg", "tiff", "webp", "progressive"])
def test_what_is_cut_short_is_set_aside(kind):
    how = {"progressive": True} if kind == "progressive" else {}
    data = encoded(scene(size=(64, 64)), "jpeg" if kind == "progressive" else kind, **how)
    assert decoded(data, size=(64, 64)).any()
    said = reason(data[: len(data) // 2], size=(64, 64))
    assert said.startswith("The file cannot be read as an image. It may be cut short or damaged: "), said
    assert " at 0x" not in said  # records of the same run are the same bytes


@pytest.mark.parametrize("data", [b"this is no picture\n", b"\0" * 999, b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_image_is_set_aside(data):
    assert reason(data) == "The file is not an image, and a BMP, GIF, JPEG, PNG, TIFF or WebP file was expected."


def test_an_empty_file_is_set_aside():
    assert reason(b"") == "The file is empty."


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore:Image size:Warning")
def test_a_decompression_bomb_is_set_aside_before_it_is_decoded():
    said = reason(image_bytes.png(7072, 7072, 8, 0, b"\0" * 10))
    assert said == "The file is too large, 50013184 pixels: make it smaller."
    assert "exceeds limit" in reason(image_bytes.png(200_000, 200_000, 8, 0, b""))


def test_what_says_nothing_about_the_image_is_raised(monkeypatch):
    for how in ({"fit": "pad"}, {"channels": 4}):
        with pytest.raises(InputError, match="one of squash, crop, exact and 1 or 3 were expected"):
            sources.decode(encoded(scene()), SIDES, **{"channels": 3, "fit": "squash"} | how)
    monkeypatch.setattr(versions, "version", lambda name: "11.0.0")
    with pytest.raises(ModelFileError, match="known security holes") as found:
        sources.decode(encoded(scene()), SIDES, 3, "exact")
    assert not isinstance(found.value, sources.SetAside)
