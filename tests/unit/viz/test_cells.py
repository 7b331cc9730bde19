"""What `visualize` reads in arrays: bands of many channels, slices of volumes, and maps of one image."""

import keras
import numpy as np
import pytest

from keras_explainable.errors import InputError
from keras_explainable.utils import visualize
from keras_explainable.viz.cells import cells
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch

pytest.importorskip("matplotlib")


def drawn(figure):
    """For each cell that is not blank, the arrays drawn in it, lowest first."""
    found = [[np.asarray(image.get_array()) for image in axis.get_images()] for axis in figure.axes]
    return [cell for cell in found if cell]


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        close(one, other, atol=1e-6)


# Bands.


@pytest.mark.parametrize("channels", [2, 5, 12])
def test_bands_are_drawn_as_red_green_and_blue_or_as_grey(channels, rng):
    images = rng.random((2, 20, 16, channels)).astype("float32")
    chosen = (channels - 1, 0, 1)
    for given in (images, list(images), keras.ops.convert_to_tensor(images)):
        same([cell[0] for cell in drawn(visualize(given, bands=chosen))], images[..., list(chosen)])
    grey = drawn(visualize(images, bands=1))
    same([cell[0] for cell in grey], np.repeat(images[..., 1:2], 3, -1))
    (one,) = drawn(visualize(images[0], bands=chosen))
    same(one, [images[0][..., list(chosen)]])


def test_bands_are_scaled_by_what_is_drawn():
    image = np.zeros((4, 4, 6), "uint16")
    image[..., 5], image[0, 0, 2], image[..., 3] = 60000, 1000, 500
    (cell,) = drawn(visualize(image, bands=(2, 3, 4)))
    close(cell[0][0, 0], [1, 0.5, 0], rtol=1e-7)
    close(cell[0][2, 2], [0, 0.5, 0], rtol=1e-7)


@pytest.mark.parametrize("shape", [(12, 9, 9), (2, 16, 16), (2, 5, 5)])
def test_channels_that_come_first_are_found_by_the_square(shape, rng):
    image = rng.random(shape)
    (cell,) = drawn(visualize([image], bands=(1, 0, 1)))
    close(cell[0], np.moveaxis(image[[1, 0, 1]], 0, -1), rtol=1e-7)


def test_more_channels_than_pixels_stay_last(rng):
    image = rng.random((9, 9, 20))
    (cell,) = drawn(visualize([image], bands=(19, 3, 0)))
    close(cell[0], image[..., [19, 3, 0]], rtol=1e-7)


def test_images_of_many_bands_lie_under_their_maps_and_beside_maps(rng):
    images, maps = rng.random((2, 8, 6, 5)), rng.random((2, 8, 6, 3))
    found = drawn(visualize(images, overlays=maps, bands=(4, 2, 0)))
    same([cell[0] for cell in found], [images[i % 2][..., [4, 2, 0]] for i in range(6)])
    same([cell[1] for cell in found], [maps[i % 2, ..., i // 2] for i in range(6)])
    mixed = drawn(visualize([images[0], maps[0, ..., :1], maps[0, ..., 1]], bands=(4, 2, 0)))
    same([cell[0] for cell in mixed], [images[0][..., [4, 2, 0]], maps[0, ..., 0], maps[0, ..., 1]])


@pytest.mark.parametrize("bgr", [np.float32, "uint8"])
def test_colours_in_another_order_are_put_right(bgr, rng):
    image = (rng.random((6, 7, 3)) * 255).astype(bgr)
    (cell,) = drawn(visualize(image, bands=(2, 1, 0)))
    close(cell[0], image[..., ::-1] / 255.0, atol=1e-6)


# Slices of volumes.


@pytest.mark.parametrize(
    ("cut", "take"),
    [(2, (0, 2)), ((0, 2), (0, 2)), ((1, 4), (1, 4)), ((2, 0), (2, 0)), ((2, -1), (2, 8)), (np.int64(1), (0, 1))],
)
def test_a_slice_of_volumes_and_their_maps(cut, take, rng):
    axis, index = take
    volumes, maps = rng.random((2, 5, 7, 9, 3)), rng.random((2, 5, 7, 9, 2))
    flat = np.take(volumes, index, 1 + axis)
    found = drawn(visualize(volumes, overlays=maps, slice=cut))
    same([cell[0] for cell in found], [flat[i % 2] for i in range(4)])
    same([cell[1] for cell in found], [np.take(maps[i % 2, ..., i // 2], index, axis) for i in range(4)])
    (alone,) = drawn(visualize(volumes[0], slice=cut))
    same(alone, [flat[0]])
    bare = drawn(visualize(volumes[..., 1], slice=cut))
    same([cell[0] for cell in bare], flat[..., 1])
    first = drawn(visualize(np.moveaxis(volumes, -1, 1), slice=cut))
    same([cell[0] for cell in first], flat)


def test_a_coarse_map_is_cut_where_its_volume_is(rng):
    volume, coarse = rng.random((8, 8, 8, 1)), rng.random((4, 2, 2))
    for index in range(8):
        (cell,) = drawn(visualize([volume], overlays=[coarse], slice=index))
        same(cell, [volume[index, ..., 0], coarse[index // 2]])
    (cell,) = drawn(visualize(volume, overlays=rng.random((4, 2, 2, 1)), slice=(1, 7)))
    assert cell[1].shape == (4, 2)


def test_bands_of_volumes_and_maps_of_one_volume(rng):
    volume, maps = rng.random((5, 8, 8, 6)), rng.random((5, 8, 8, 3))
    found = drawn(visualize(volume, overlays=maps, bands=(5, 0, 1), slice=(0, 3)))
    same([cell[0] for cell in found], [volume[3][..., [5, 0, 1]]] * 3)
    same([cell[1] for cell in found], np.moveaxis(maps[3], -1, 0))


# One image and the maps of its K units.


@pytest.mark.parametrize("shape", [(20, 24), (24, 20), (16, 16)])
@pytest.mark.parametrize("units", [2, 3, 5])
def test_maps_of_one_image_are_drawn_one_for_each_unit(shape, units, rng):
    x, maps = rng.integers(0, 256, (1, *shape, 3), "uint8"), rng.random((1, *shape, units))
    by_unit = np.moveaxis(maps[0], -1, 0)
    for image in (x[0], x, [x[0]]):
        for overlays in (maps[0], maps, by_unit, list(by_unit), maps[0].astype("float32")):
            found = drawn(visualize(image, overlays=overlays))
            same([cell[0] for cell in found], [x[0] / 255.0] * units)
            same([cell[1] for cell in found], by_unit)


def test_coarse_maps_of_one_image_are_told_by_its_proportions(rng):
    image, maps = np.zeros((40, 60, 3)), rng.random((4, 6, 5))
    same(cells(image, maps)[1], np.moveaxis(maps, -1, 0))
    same(cells(image, np.moveaxis(maps, -1, 0))[1], np.moveaxis(maps, -1, 0))
    with pytest.raises(InputError, match=r"\(7, 7, 7\) may be 7 maps, by the last axis, or 7, by the first: pass a li"):
        visualize(np.zeros((14, 14, 3)), overlays=rng.random((7, 7, 7)))


@pytest.mark.parametrize(
    ("images", "overlays", "words"),
    [
        ((2, 8, 6, 3), (8, 6, 3), r"\(8, 6, 3\) are 1 image x 3 maps, but there are 2 images"),
        ((2, 8, 6, 3), (1, 8, 6, 3), r"\(1, 8, 6, 3\) are 1 image x 3 maps, but there are 2 images"),
        ((3, 8, 6, 3), (2, 8, 6, 3), r"\(2, 8, 6, 3\) are 2 images x 3 maps, but there are 3 images"),
        ((8, 6, 3), (2, 8, 6, 4), r"\(2, 8, 6, 4\) are 2 images x 4 maps, but there is 1 image"),
    ],
)
def test_maps_of_another_number_of_images_are_counted(images, overlays, words):
    with pytest.raises(InputError, match=words):
        visualize(np.zeros(images), overlays=np.zeros(overlays))


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"images": np.zeros((2, 8, 6, 5))}, r"shape \(8, 6, 5\) came.*bands=\(3, 2, 1\) draws .*bands=0 one as grey"),
        ({"images": [np.zeros((8, 6, 2))]}, r"shape \(8, 6, 2\) came.*bands="),
        (
            {"images": np.zeros((8, 8, 12))},
            r"\(8, 8, 12\) is one image of 12 channels, or 8 maps.*bands=.*list\(images",
        ),
        ({"images": np.zeros((8, 6, 2))}, r"one image of 2 channels, or 8 maps"),
        ({"images": np.zeros((1, 5, 8, 6, 3))}, r"\(1, 5, 8, 6, 3\) came.*: slice=12 shows .*slice=\(axis, index\)"),
        ({"images": [np.zeros((5, 8, 6, 3))]}, r"\(5, 8, 6, 3\) came.*: slice=12 shows"),
        ({"images": np.zeros((2, 5, 8, 6))}, r"\(5, 8, 6\).*slice=12 shows"),
        ({"images": np.zeros((1, 8, 6, 3)), "overlays": np.zeros((1, 5, 8, 6, 3))}, r"Overlays.* slice=12"),
        ({"images": np.zeros((8, 6)), "slice": 1}, r"Images of shape \(8, 6\) came, .*\(N, D, H, W\)"),
        ({"images": np.zeros((5, 8, 6, 3)), "slice": 5}, r"slice=\(0, 5\) came for volumes with 5 places"),
        ({"images": np.zeros((5, 8, 6, 3)), "slice": (3, 0)}, r"slice=\(3, 0\) came, .*axis 0, 1 or 2"),
        ({"images": np.zeros((5, 8, 6, 3)), "slice": True}, "slice=True came"),
        ({"images": np.zeros((5, 8, 6, 3)), "slice": 1, "overlays": [np.zeros((5, 8, 6, 2))]}, "one value at each"),
        ({"images": np.zeros((8, 6, 5)), "bands": (1, 2)}, r"bands=\(1, 2\) came, and three"),
        ({"images": np.zeros((8, 6, 5)), "bands": "rgb"}, "bands='rgb' came"),
        ({"images": np.zeros((8, 6, 5)), "bands": (5, 0, 0)}, r"bands=\[5, 0, 0\] came for images of 5 channels"),
        ({"images": [np.zeros((12, 20, 16))], "bands": (3, 2, 1)}, r"\(12, 20, 16\) may be its first or its last axis"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(arguments, words):
    with pytest.raises(InputError, match=words):
        visualize(**arguments)
