"""Figures: what is drawn where, in which colours, and nothing left behind in pyplot."""

import io
import pickle

import keras
import numpy as np
import pytest
from PIL import Image

from keras_explainable.errors import InputError
from keras_explainable.utils import visualize
from support.compare import close
from support.selection import fast, fast_on_torch

pytestmark = fast_on_torch

pytest.importorskip("matplotlib")


def drawn(figure):
    """For each cell, the images drawn in it, lowest first."""
    return [axis.get_images() for axis in figure.axes]


def colors(drawing):
    """The colours (H, W, 4) in 0..1 in which one image is drawn."""
    values = drawing.get_array()
    return np.asarray(values) if values.ndim == 3 else drawing.to_rgba(values)


def test_a_list_of_images_and_maps_fills_the_grid_in_order(rng):
    images, maps = rng.integers(0, 256, (2, 8, 8, 3), "uint8"), rng.random((2, 8, 8, 1))
    figure = visualize([*images, *maps, None], titles=["one", None, "three"], cols=2)
    cells = drawn(figure)
    assert [len(cell) for cell in cells] == [1, 1, 1, 1, 0, 0]
    for cell, image in zip(cells, images, strict=False):
        np.testing.assert_array_equal(colors(cell[0]), image / 255.0)
    for cell, values in zip(cells[2:], maps, strict=False):
        np.testing.assert_array_equal(cell[0].get_array(), values[..., 0])
        assert cell[0].get_clim() == (values.min(), values.max())
    assert [axis.get_title() for axis in figure.axes] == ["one", "", "three", "", "", ""]


def test_an_overlay_covers_its_image_at_any_size(rng):
    images, maps = rng.integers(0, 256, (2, 8, 12, 3), "uint8"), rng.random((2, 2, 3))
    figure = visualize(images, overlays=maps, overlay_alpha=0.4, overlay_cmap="jet")
    for cell, values in zip(drawn(figure), maps, strict=True):
        below, above = cell
        assert above.get_extent() == below.get_extent() == [-0.5, 11.5, 7.5, -0.5]
        assert above.get_alpha() == 0.4 and above.get_cmap().name == "jet"
        np.testing.assert_array_equal(above.get_array(), values)


def test_pixels_of_an_overlay_in_the_file(tmp_path):
    values = np.zeros((4, 4))
    values[:2, 2:] = 1.0  # upper right
    path = tmp_path / "new folder" / "maps.png"
    visualize([np.full((4, 4, 3), 255, "uint8")], overlays=[values], overlay_alpha=1.0, figsize=(2, 2), to_file=path)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height, width = pixels.shape[:2]
    assert pixels[height // 5, 4 * width // 5, 0] > 100 > pixels[height // 5, 4 * width // 5, 2]  # red
    assert pixels[4 * height // 5, width // 5, 2] > 100 > pixels[4 * height // 5, width // 5, 0]  # blue


def test_maps_of_several_units_repeat_the_images_unit_by_unit(rng):
    images, maps = rng.integers(0, 256, (2, 6, 6, 3), "uint8"), rng.random((2, 6, 6, 3))
    by_hand = maps.transpose(3, 0, 1, 2).reshape(-1, 6, 6, 1)
    for overlays in (maps, by_hand, list(by_hand)):
        cells = drawn(visualize(images, overlays=overlays, cols=2))
        assert len(cells) == 6
        for i, (below, above) in enumerate(cells):
            np.testing.assert_array_equal(below.get_array(), images[i % 2] / 255.0)
            np.testing.assert_array_equal(above.get_array(), maps[i % 2, ..., i // 2])


def test_signed_maps_are_symmetric_about_zero_and_may_share_a_scale():
    maps = [np.array([[-1.0, 0.0, 0.5]]), np.array([[0.0, 1.0, 4.0]])]
    own = [cell[0] for cell in drawn(visualize(maps))]
    assert [d.get_clim() for d in own] == [(-1, 1), (-4, 4)]
    close(colors(own[0])[0, 1, :3], 1, atol=0.01)  # zero is white
    close(colors(own[0])[0, 0, :3], [0, 0, 1], atol=0.01)  # below is blue
    assert [cell[0].get_clim() for cell in drawn(visualize(maps, shared=True))] == [(-4, 4)] * 2
    assert [cell[0].get_clim() for cell in drawn(visualize(maps, signed=False, shared=True))] == [(-1, 4)] * 2
    assert [cell[0].get_clim() for cell in drawn(visualize(maps, cmap="magma"))] == [(-1, 0.5), (0, 4)]


def test_one_channel_of_integers_is_a_grey_picture():
    cells = drawn(visualize([np.array([[0, 51]], "uint8"), np.array([[[0], [51]]], "uint8")]))
    for cell in cells[:2]:
        close(colors(cell[0])[0, :, :3], [[0] * 3, [0.2] * 3], atol=0.005)


@fast
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tensors_of_the_backend_can_be_shown(channels, rng):
    values = rng.random((2, 5, 5, channels)).astype("float32")
    tensor = keras.ops.convert_to_tensor(values)
    for images in (tensor, list(tensor), values.transpose(0, 3, 1, 2)):
        for cell, expected in zip(drawn(visualize(images)), values, strict=True):
            close(np.asarray(cell[0].get_array()).reshape(expected.shape), expected, atol=1e-6)


def test_a_buffer_gets_a_png_and_notebooks_too(rng):
    buffer = io.BytesIO()
    figure = visualize([rng.random((4, 4, 3))], to_buffer=buffer)
    buffer.seek(0)
    np.testing.assert_array_equal(
        np.asarray(Image.open(buffer)), np.asarray(Image.open(io.BytesIO(figure._repr_png_())))
    )
    pickle.loads(pickle.dumps(figure))


@pytest.mark.parametrize(
    ("count", "rows", "cols", "shape"),
    [(5, None, None, (2, 3)), (5, 1, None, (1, 5)), (5, None, 2, (3, 2)), (1, None, None, (1, 1)), (3, 2, 2, (2, 2))],
)
def test_the_grid(count, rows, cols, shape):
    figure = visualize([np.zeros((2, 2, 3))] * count, rows=rows, cols=cols)
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == shape


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"images": []}, "nothing to show"),
        ({"images": [np.zeros((2, 2))] * 5, "rows": 2, "cols": 2}, "5 images do not fit 2 rows of 2"),
        ({"images": [np.zeros((2, 2))], "cols": 0}, "at least one row"),
        ({"images": [np.zeros((2, 2))], "titles": ["a", "b"]}, "2 titles"),
        ({"images": [np.zeros((2, 2))] * 2, "overlays": [np.zeros((2, 2))] * 3}, "3 overlays came for 2"),
        ({"images": [np.zeros((2, 2))], "overlays": [np.zeros((2, 2, 3))]}, "one value per pixel"),
        ({"images": np.zeros((1, 1, 2, 2, 3))}, r"\(1, 1, 2, 2, 3\)"),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        visualize(**arguments)


def test_pyplot_is_not_touched():
    from matplotlib import pyplot, rcParams

    before = pyplot.get_fignums(), dict(rcParams)
    visualize([np.zeros((4, 4, 3))], to_buffer=io.BytesIO())
    assert (pyplot.get_fignums(), dict(rcParams)) == before
