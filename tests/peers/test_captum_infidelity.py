"""Captum's `infidelity`, on the same perturbations.

Its `normalize=True` scales the map as ours does, and leaves out the division by E D^2, with D the fall of the score: its
values depend on the scale of the model. E D^2 is the infidelity of a map of zeros. It sums map times perturbation over
channels, so the perturbation of each of the C channels is 1/C.
"""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)
import torch

import keras_explainable as ke
from keras_explainable.masking.segments import grid
from keras_explainable.metrics.subsets import draw
from support import torch_models
from support.compare import close

metrics = pytest.importorskip("captum.metrics", reason="Captum, to compare with, is not installed: pip install captum")
UNITS, SUBSETS, CELLS = [1, 4, 2], 24, 5
MAPS = np.random.default_rng(1).normal(size=(3, *torch_models.SIZE, 1)).astype("float32")


def captums(module, x, maps, normalize):
    """Captum's infidelity of maps (N, 1, H, W), with the subsets of cells that ours removes."""
    labels, cells = grid(torch_models.SIZE, (CELLS, CELLS))
    masks = torch.from_numpy(draw(SUBSETS, cells, 0.1, 0.9, seed=0)[:, None, labels])
    mean = x.mean((2, 3), keepdim=True)

    def perturbed(inputs):  # the copies of an image are together
        removed, colour = masks.repeat(len(x), 1, 1, 1), mean.repeat_interleave(SUBSETS, 0)
        return (removed / x.shape[1]).expand_as(inputs), inputs * (1 - removed) + colour * removed

    found = metrics.infidelity(
        module, perturbed, x, maps.expand_as(x), target=UNITS, n_perturb_samples=SUBSETS, normalize=normalize
    )
    return found.detach().numpy()


@pytest.mark.parametrize("normalize", [False, True])
def test_infidelity(normalize):
    module = torch_models.drawn(torch_models.Plain())
    x, maps = torch.from_numpy(torch_models.images()), torch.from_numpy(MAPS).permute(0, 3, 1, 2)
    expected = captums(module, x, maps, normalize)
    if normalize:
        expected = expected / captums(module, x, torch.zeros_like(maps), False)
    found = ke.metrics.infidelity(module, x, UNITS, MAPS, subsets=SUBSETS, cells=CELLS, normalize=normalize)
    close(found.values[:, 0], expected)


def test_without_normalize_the_scale_of_the_map_decides():
    """As in Captum's issues 613 and 1018."""
    module = torch_models.drawn(torch_models.Plain())
    given = {"subsets": SUBSETS, "cells": CELLS}
    x = torch.from_numpy(torch_models.images())
    one, other = (ke.metrics.infidelity(module, x, UNITS, scale * MAPS, **given).values for scale in (1, 100))
    close(one, other)
    maps = torch.from_numpy(MAPS).permute(0, 3, 1, 2)
    assert (captums(module, x, 100 * maps, False) > 100 * captums(module, x, maps, False)).all()
