"""Images at a model's size: which pixels are kept, where bars lie, and what is told of it."""

import numpy as np
import pytest

from keras_explainable.errors import InputError
from keras_explainable.viz import framing
from support.selection import fast_on_torch

pytestmark = fast_on_torch

pytest.importorskip("PIL", reason="images are resized by pillow")


def numbered(height, width):
    """An image whose pixels tell their row, their column, and 1."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.ones_like(rows)], -1).astype("uint8")


@pytest.mark.parametrize(
    ("shape", "size", "crop", "pad"),
    [
        ((480, 640), (224, 224), (480, 480), (640, 640)),
        ((640, 480), (224, 224), (480, 480), (640, 640)),
        ((100, 300), (50, 100), (100, 200), (150, 300)),
        ((30, 20), (224, 224), (20, 20), (30, 30)),
        ((7, 5), (16, 24), (3, 5), (7, 10)),
        ((90, 60), (30, 20), (90, 60), (90, 60)),
    ],
)
def test_the_frame_has_the_models_proportions(shape, size, crop, pad):
    assert framing.frame_of(shape, size, "stretch") == shape
    assert framing.frame_of(shape, size, "crop") == crop
    assert framing.frame_of(shape, size, "pad") == pad


def test_the_middle_is_kept_or_grey_bars_are_added_on_both_sides():
    image = numbered(4, 11)
    np.testing.assert_array_equal(framing.framed(image, (8, 8), "stretch"), image)
    np.testing.assert_array_equal(framing.framed(image, (8, 8), "crop"), image[:, 3:7])
    padded = framing.framed(image, (8, 8), "pad")
    assert padded.shape == (11, 11, 3) and padded.dtype == np.uint8
    np.testing.assert_array_equal(padded[3:7], image)
    assert (padded[:3] == 128).all() and (padded[7:] == 128).all()
    np.testing.assert_array_equal(framing.framed(image.swapaxes(0, 1), (8, 8), "crop"), image.swapaxes(0, 1)[3:7])


def test_a_covering_picture_keeps_proportions_and_loses_no_cell_of_the_map():
    assert framing.covering(numbered(60, 120), (24, 24)).shape == (24, 48, 3)
    assert framing.covering(numbered(12, 10), (24, 30)).shape == (36, 30, 3)
    flat = framing.covering(np.full((40, 90, 3), 77, "uint8"), (16, 16))
    assert flat.shape == (16, 36, 3) and (flat == 77).all()


def test_what_was_done_is_told_width_first():
    assert framing.describe((480, 640, 3), (224, 224), "stretch") == "640 x 480 stretched to 224 x 224"
    cropped = framing.describe((480, 640, 3), (224, 224), "crop")
    assert cropped.startswith("640 x 480 cropped to its middle 480 x 480, scaled to 224 x 224 (--fit stretch or pad")
    padded = framing.describe((480, 640, 3), (112, 224), "pad")
    assert padded == "640 x 480 padded with grey to 960 x 480, scaled to 224 x 112"
    for fit in framing.FITS:
        assert framing.describe((448, 448, 3), (224, 224), fit) == ""
    with pytest.raises(InputError, match="fit='squash' came, and one of stretch, crop, pad"):
        framing.describe((4, 4), (2, 2), "squash")


def test_each_thing_done_is_one_line():
    assert framing.lines({"stretched": ["a.jpg", "b.jpg", "c.jpg"], "cropped": ["d.jpg"]}) == [
        "a.jpg and 2 more: stretched",
        "d.jpg: cropped",
    ]
