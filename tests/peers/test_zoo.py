"""A sample of the architectures of `make zoo`: scores, gradients and Grad-CAM are those of hooks and autograd, and the
signal that is chosen shows places of the image; and the zoo's own measures, where they are known in closed form."""

import numpy as np
import pytest
from zoo import readings
from zoo.sample import SAMPLE
from zoo.subject import Signal

from support.selection import BACKEND

NEEDS = {"keras_hub": "keras_hub", "others": "monai"}


@pytest.fixture(scope="module", params=SAMPLE, ids=[" ".join(one) for one in SAMPLE])
def subject(request, torchvision):
    source, name = request.param
    reason = f"{source} is not installed, or not for these versions: make test-peers"
    pytest.importorskip(NEEDS.get(source, source), reason=reason, exc_type=ImportError)
    from zoo import worker

    return worker.build(source, name)


@pytest.mark.peers
@pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
def test_sample(subject):
    from zoo.checks import check

    reference, before = subject.scores(subject.images), subject.state()
    assert check(subject, "gradients", reference)["outcome"] == "right"
    row = check(subject, "gradcam", reference)
    assert row["outcome"] == "right", row
    assert row["sensible"], row
    assert not subject.changed(before)


def test_area_under_the_curve():
    """Of all pairs of a cell inside and one outside, the part in which the one inside changes more; a tie is half."""
    inside = np.array([[True, True], [False, False]])
    for change, area in (
        ([[3, 4], [1, 2]], 1.0),
        ([[1, 2], [3, 4]], 0.0),
        ([[1, 4], [2, 3]], 0.5),
        ([[1, 1], [1, 1]], 0.5),
    ):
        assert readings.area(np.array(change, "float64"), inside) == area
    assert np.isnan(readings.area(np.ones((2, 2)), np.ones((2, 2), bool)))


@pytest.mark.parametrize(
    ("shape", "grid", "names"),
    [
        ((2, 5, 3, 4), (3, 4), ["channels first"]),
        ((2, 3, 4, 5), (3, 4), ["channels last"]),
        ((2, 3, 3, 3), (3, 3), ["channels first", "channels last"]),
        ((2, 6, 5), (2, 2), ["tokens after 0", "tokens after 1", "tokens after 2"]),
        ((2, 5, 6), (2, 3), ["tokens last"]),
        ((8, 5, 6), (4, 2, 2), ["tokens after 0 of each frame", "tokens after 1 of each frame"]),
    ],
)
def test_every_reading_has_its_places(shape, grid, names):
    found = list(readings.readings(shape, 2, grid))
    assert [one.name for one in found] == names
    assert all(one(np.zeros(shape)).shape[:-1] == (2, *grid) for one in found)


def test_the_reading_and_the_order_of_a_map_are_found(rng):
    """Tokens after one other token, in a permuted order: both are found from the map."""
    values, gradient = rng.normal(size=(2, 2, 7, 5))
    order = rng.permutation(6)
    maps = readings.grad_cam(values[:, 1:, None], gradient[:, 1:, None])[:, order, 0].reshape(2, 2, 3)
    error, signal, reading = readings.best([Signal(values, gradient)], maps, readings.grad_cam)
    assert error < 1e-12
    assert reading.name == "tokens after 1, in another order"
    np.testing.assert_array_equal(reading(signal.values), values[:, 1:][:, order].reshape(2, 2, 3, 5))


class Pooled:
    """Images in place of a model: a signal that is a mean over blocks, in its places or in others."""

    size, channels_first = (16, 16), True

    def __init__(self, images, order):
        self.images, self.order = images, order

    def signals(self, place, images, gradients=True):
        cells = images.reshape(len(images), 3, 4, 4, 4, 4).mean((3, 5)).reshape(len(images), 3, 16)
        return [Signal(cells[..., self.order].reshape(-1, 3, 4, 4), None)]


def test_evidence_of_cells_at_their_places_and_elsewhere(rng):
    """1 where only the block's own cell changes; where that is another one, 14 of 15 pairs are ties, one is lost: 7/15."""
    images = rng.normal(size=(2, 3, 16, 16))
    reading = next(readings.readings((2, 3, 4, 4), 2, (4, 4)))
    there, elsewhere = np.arange(16), np.roll(np.arange(16), 1)
    assert readings.Changes(Pooled(images, there), None, 0).evidence(reading) == 1
    assert readings.Changes(Pooled(images, elsewhere), None, 0).evidence(reading) == pytest.approx(7 / 15)


def test_the_better_reading_is_found(rng):
    """If tokens after one other are read from the first on, the right reading has evidence 1."""

    class Behind(Pooled):
        def signals(self, place, images, gradients=True):
            tokens = super().signals(place, images)[0].values.reshape(len(images), 3, 16).swapaxes(1, 2)
            return [Signal(np.concatenate([tokens[:, :1] * 0, tokens], 1), None)]

    changes = readings.Changes(Behind(rng.normal(size=(2, 3, 16, 16)), np.arange(16)), None, 0)
    first = next(readings.readings((2, 17, 3), 2, (4, 4)))
    assert changes.evidence(first) < 0.6
    assert max(changes.others()) == (1, "tokens after 1, 4 x 4")
