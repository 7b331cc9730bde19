"""Deletion, insertion and IROF beside those of `explainable-ai-image-measures`.

Removed pixels have the mean colour, as ours do. Its curves lack the image before anything is removed, or shown, and it
divides the area by the number of points, one more than that of steps. It numbers superpixels from 0, and scikit-image
from 1: the curve of IROF has one step more, in which nothing is removed. Its `irof_sigma` is not used: superpixels have
their number as the compactness.
"""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)
import torch

import keras_explainable as ke
from support import torch_models
from support.compare import close

pytestmark = pytest.mark.peers
UNITS, STEPS, SEGMENTS = [1, 4, 2], 12, 12
MAPS = np.random.default_rng(1).normal(size=(3, *torch_models.SIZE)).astype("float32")


@pytest.fixture
def peer():
    reason = "explainable-ai-image-measures is not installed: make test-peers"
    return pytest.importorskip("explainable_ai_image_measures", reason=reason, exc_type=ImportError)


def subject():
    return torch_models.drawn(torch_models.Plain()), torch.from_numpy(torch_models.images())


def each(compute, x):
    """The values and the curves of each image."""
    found = [compute(*one) for one in zip(x, torch.from_numpy(MAPS), UNITS, strict=True)]
    return np.array([value for value, _ in found]), [curve.numpy() for _, curve in found]


@pytest.mark.parametrize(("name", "theirs"), [("deletion", "compute_DAUC"), ("insertion", "compute_IAUC")])
def test_deletion_and_insertion(peer, name, theirs):
    module, x = subject()
    measures = peer.Measures(module, batch_size=5, pixel_package_size=MAPS[0].size // STEPS, normalize=False)
    values, curves = each(getattr(measures, theirs), x)
    found = getattr(ke.metrics, name)(module, x, UNITS, MAPS[..., None], fill="mean", points=STEPS + 1)
    ours = found.curves[name][:, 0]
    close(ours[:, 1:], np.stack(curves))
    close(np.trapezoid(ours[:, 1:], axis=-1) / STEPS, values)


def test_irof(peer):
    segmentation = pytest.importorskip("skimage.segmentation", reason="scikit-image is not installed")
    module, x = subject()
    values, curves = each(peer.Measures(module, irof_segments=SEGMENTS).compute_IROF, x)
    labels = np.stack([segmentation.slic(image, SEGMENTS, SEGMENTS) for image in x.permute(0, 2, 3, 1).numpy()]) - 1
    found = ke.metrics.irof(module, x, UNITS, MAPS[..., None], segments=labels)
    for n, curve in enumerate(curves):
        number = labels[n].max() + 1
        ours = 1 - found.curves["deletion"][n, 0, : number + 1] / found.curves["deletion"][n, 0, 0]
        close(ours[[*range(1, number + 1), -1]], curve)
        close(np.trapezoid(ours) / number, found.values[n, 0], atol=1e-6)  # of curves from 0 to 1
        close(np.trapezoid(curve) / len(curve), values[n], atol=1e-6)
