"""Pictures as arrays: colours equal their formula, pixels go where they should, no other file is read."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from keras_explainable.errors import InputError, ModelFileError
from keras_explainable.viz import colormaps, image, image_files
from support.compare import close
from support.selection import fast, fast_on_torch

pytestmark = fast_on_torch


def jet(v):
    """Matplotlib's jet, as four ramps."""
    return [
        np.interp(v, [0, 0.35, 0.66, 0.89, 1], [0, 0, 1, 1, 0.5]),
        np.interp(v, [0, 0.125, 0.375, 0.64, 0.91, 1], [0, 0, 1, 1, 0, 0]),
        np.interp(v, [0, 0.11, 0.34, 0.65, 1], [0.5, 1, 1, 0, 0]),
    ]


@pytest.mark.parametrize("name", ["jet", "bwr", "gray"])
def test_built_in_colors_are_those_of_matplotlib(name):
    matplotlib = pytest.importorskip("matplotlib")
    steps = np.arange(256) / 255
    expected = matplotlib.colormaps[name](np.arange(256))[:, :3]
    close(colormaps.colorize(steps, name), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["turbo", "inferno"])
def test_smooth_colors_are_close_to_those_of_matplotlib(name):
    matplotlib = pytest.importorskip("matplotlib")
    expected = matplotlib.colormaps[name](np.arange(256))[:, :3]
    close(colormaps.colorize(np.arange(256) / 255, name), expected, atol=1 / 40)


def test_other_colors_come_from_matplotlib_or_a_function():
    matplotlib = pytest.importorskip("matplotlib")
    steps = np.array([0.0, 0.5, 1.0])
    np.testing.assert_array_equal(colormaps.colorize(steps, "magma"), matplotlib.colormaps["magma"](steps)[:, :3])
    twice = colormaps.colorize(steps, lambda v: np.stack([v, v * 0, 1 - v, v], axis=-1))
    np.testing.assert_array_equal(twice, [[0, 0, 1], [0.5, 0, 0.5], [1, 0, 0]])
    with pytest.raises(InputError, match="'no such colours'.*jet"):
        colormaps.colorize(steps, "no such colours")


def test_overlay_is_the_weighted_sum_of_image_and_colour(rng):
    picture, values = rng.integers(0, 256, (5, 4, 3), "uint8"), rng.random((5, 4))
    got = image.overlay(picture, values, alpha=0.3)
    for r in range(5):
        for c in range(4):
            v = (values[r, c] - values.min()) / (values.max() - values.min())
            expected = [0.7 * picture[r, c, k] + 0.3 * 255 * jet(v)[k] for k in range(3)]
            close(got[r, c], expected, atol=0.5 + 1e-9)


def test_the_hot_spot_is_red_and_the_cold_is_blue_in_rgb_order():
    values = np.full((9, 9), 0.3)
    values[2, 6], values[0, 0] = 0.9, 0.0
    got = image.overlay(np.zeros((9, 9, 3), "uint8"), values, alpha=1.0, limits=(0.0, 1.0))
    red, green, blue = got[2, 6]
    assert red > 240 and green < 20 and blue == 0
    np.testing.assert_array_equal(got[0, 0], [0, 0, 128])
    assert got.argmax(-1)[4, 4] != 0  # nowhere else


def test_a_signed_map_is_white_at_zero_red_above_blue_below():
    got = image.overlay(np.zeros((1, 3, 3)), np.array([[-1.0, 0.0, 2.0]]), alpha=1.0)
    np.testing.assert_array_equal(got[0], [[128, 128, 255], [255, 255, 255], [255, 0, 0]])


def test_alpha_may_differ_by_pixel_and_limits_clip():
    got = image.overlay(
        np.zeros((1, 3, 3)), np.array([[5.0, 0.0, 1.0]]), np.array([[1.0, 1.0, 0.0]]), "gray", (0.0, 2.0)
    )
    np.testing.assert_array_equal(got[0], [[255] * 3, [0] * 3, [0] * 3])


def test_a_constant_map_takes_the_lowest_colour():
    np.testing.assert_array_equal(
        image.overlay(np.zeros((2, 2, 3)), np.full((2, 2), 7.0), 1.0), [[[0, 0, 128]] * 2] * 2
    )


def test_highlight_shows_the_grey_image_where_the_map_is_weak():
    picture = np.array([[[255, 0, 0], [255, 0, 0]]], "uint8")
    got = image.highlight(picture, np.array([[0.0, 1.0]]), alpha=1.0)
    weak = 0.9 * round(0.299 * 255) + 0.1 * np.array([0, 0, 0.5]) * 255
    close(got[0, 0], weak, atol=1)
    np.testing.assert_array_equal(got[0, 1], [128, 0, 0])


@pytest.mark.parametrize("maps", [[np.r_[np.zeros(50), np.ones(50), 100.0]], [np.r_[np.zeros(1000), 5.0]]])
def test_a_percentile_takes_the_place_of_the_maximum_unless_it_is_the_minimum(maps):
    top = np.sort(maps[0])[int(0.99 * (maps[0].size - 1))]
    assert colormaps.limits_of(maps, False, 99) == (0.0, top if top > 0 else 5.0)


def test_the_peak_is_the_maximum_or_the_middle_of_several(rng):
    values = rng.random((5, 7))
    values[3, 1] = 2
    assert image.peak(values) == (3, 1)
    values[2:5, 2:7] = 2  # and a block around (3, 4)
    values[3, 1] = 0
    assert image.peak(values) == (3, 4)


def test_stretching_is_the_bilinear_interpolation_of_pillow(rng):
    values = rng.random((4, 3)).astype("float32")
    expected = Image.fromarray(values).resize((11, 9), Image.Resampling.BILINEAR)
    close(image.stretch(values, (9, 11)), np.asarray(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.array([[0, 51, 255]], "uint8"), [[0, 51, 255]]),
        (np.array([[0, 1, 1]], "uint8"), [[0, 1, 1]]),  # integers are 0..255, however dark
        (np.array([[0, 51, 255]], "int64"), [[0, 51, 255]]),
        (np.array([[0.0, 0.2, 1.0]]), [[0, 51, 255]]),
        (np.array([[0.0, 51.0, 255.0]], "float32"), [[0, 51, 255]]),
        (np.array([[-1.0, 0.0, 1.0]]), [[0, 128, 255]]),
        (np.array([[0, 500, 1000]]), [[0, 128, 255]]),
        (np.array([[False, True, True]]), [[0, 255, 255]]),
    ],
)
def test_the_range_of_an_image_is_read_from_its_type_and_values(given, expected):
    np.testing.assert_array_equal(image.to_rgb(given), np.repeat(np.array(expected)[..., None], 3, axis=-1))


def test_channels_may_be_one_three_or_four_and_first_or_last(rng):
    picture = rng.integers(0, 256, (6, 7, 3), "uint8")
    np.testing.assert_array_equal(image.to_rgb(picture), picture)
    np.testing.assert_array_equal(image.to_rgb(picture.transpose(2, 0, 1)), picture)
    np.testing.assert_array_equal(image.to_rgb(picture[..., :1]), picture[..., [0, 0, 0]])
    transparent = np.concatenate([picture, np.zeros((6, 7, 1), "uint8")], axis=-1)
    np.testing.assert_array_equal(image.to_rgb(transparent), np.full_like(picture, 255))
    transparent[..., 3] = 255
    np.testing.assert_array_equal(image.to_rgb(transparent), picture)


@fast
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "uint8"])
def test_tensors_of_the_backend_are_images(kind):
    values = np.array([[[0, 64, 255]]], "uint8")
    tensor = keras.ops.cast(keras.ops.convert_to_tensor(values), kind)
    np.testing.assert_array_equal(image.to_rgb(tensor), np.array([[[0, 64, 255]]], "uint8"))
    np.testing.assert_array_equal(
        image.to_rgb(keras.Variable(values, dtype=kind, trainable=kind != "uint8").value), values
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((2, 3, 5)), r"\(2, 3, 5\)"),
        (np.zeros(4), r"\(4,\)"),
        (np.zeros((0, 3, 3)), r"\(0, 3, 3\)"),
        (np.array([[np.nan]]), "NaN"),
        (np.array([[np.inf]]), "infinity"),
        ("photo.jpg", "str"),
        (object(), "object"),
    ],
)
def test_what_is_no_image_is_refused(given, words):
    with pytest.raises(InputError, match=words):
        image.to_rgb(given)


def test_a_map_of_several_units_is_refused(rng):
    with pytest.raises(InputError, match=r"\(4, 4, 3\)"):
        image.overlay(np.zeros((4, 4, 3)), rng.random((4, 4, 3)))


@pytest.mark.parametrize("kind", ["uint8", "standardised", "transparent", "grey"])
def test_an_image_in_parts_is_the_image_at_once(rng, monkeypatch, kind):
    picture = {
        "uint8": rng.integers(0, 256, (9, 5, 3), "uint8"),
        "standardised": rng.normal(size=(9, 5, 3)),
        "transparent": rng.random((9, 5, 4)),
        "grey": rng.integers(0, 1000, (9, 5)),
    }[kind]
    heat, alpha = rng.normal(size=(4, 3)), rng.random((9, 5))

    def made():
        return [image.to_rgb(picture), image.overlay(picture, heat, alpha), image.highlight(picture, heat)]

    whole = made()
    monkeypatch.setattr(image, "BAND", 7)  # less than two rows
    for one, other in zip(whole, made(), strict=True):
        np.testing.assert_array_equal(one, other)


# Files.


def test_a_file_is_read_as_rgb(tmp_path, rng):
    picture = rng.integers(0, 256, (6, 9, 3), "uint8")
    Image.fromarray(picture).save(tmp_path / "a.png")
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "a.png"), picture)
    np.testing.assert_array_equal(image_files.read_image(str(tmp_path / "a.png")), picture)


def test_a_photo_is_turned_upright(tmp_path):
    picture = np.zeros((16, 32, 3), "uint8")
    picture[:8, :8] = [255, 0, 0]  # red, top left, as the sensor lay
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif, quality=100)
    got = image_files.read_image(tmp_path / "a.jpg")
    assert got.shape == (32, 16, 3)
    assert got[2, -3, 0] > 200 and got[2, 2, 0] < 50


def test_grey_palette_transparent_cmyk_and_16_bit_files(tmp_path):
    grey = np.array([[0, 100, 255]], "uint8")
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "cmyk.tiff")
    Image.fromarray(np.dstack([rgb, [[255, 255, 0]]]).astype("uint8")).save(tmp_path / "alpha.png")
    Image.fromarray(grey.astype("uint16") * 257).save(tmp_path / "deep.png")
    for name in ("grey.png", "palette.png", "cmyk.tiff", "deep.png", "alpha.png"):
        np.testing.assert_array_equal(image_files.read_image(tmp_path / name), rgb, err_msg=name)
    Image.fromarray(np.dstack([rgb, [[0, 255, 255]]]).astype("uint8")).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "alpha.png")[0, 0], [255, 255, 255])


def test_an_image_is_cropped_in_the_centre_and_resized(tmp_path):
    picture = np.zeros((40, 100, 3), "uint8")
    picture[:, 30:70, 1] = 200  # the central square
    Image.fromarray(picture).save(tmp_path / "a.png")
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "a.png", 40), picture[:, 30:70])
    small = image_files.read_image(tmp_path / "a.png", (20, 50))
    assert small.shape == (20, 50, 3)
    np.testing.assert_array_equal(small[10, [2, 25, 47], 1], [0, 200, 0])
    with pytest.raises(InputError, match="size"):
        image_files.read_image(tmp_path / "a.png", (0, 5))


def test_files_that_are_no_images_are_refused(tmp_path, rng):
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ModelFileError, match=r"text\.png is not an image"):
        image_files.read_image(tmp_path / "text.png")
    with pytest.raises(ModelFileError, match=r"no image at .*none\.png"):
        image_files.read_image(tmp_path / "none.png")
    with pytest.raises(ModelFileError, match="is a folder. Name its images"):
        image_files.read_image(tmp_path)


def test_an_image_that_is_too_large_is_refused_as_that(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((60, 60, 3), "uint8")).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ModelFileError, match=r"large.png is too large: make it smaller. .*3600 pixels"):
        image_files.read_image(tmp_path / "large.png")


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_an_image_cut_short_is_refused(tmp_path, rng, kind):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (60, 60, 3), "uint8")).save(buffer, kind)
    (tmp_path / "cut").write_bytes(buffer.getvalue()[: buffer.tell() // 2])
    with pytest.raises(ModelFileError, match="cut short"):
        image_files.read_image(tmp_path / "cut")
