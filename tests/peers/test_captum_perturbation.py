"""Occlusion, Shapley values, Kernel SHAP and LIME beside Captum's, on the same segments and masks."""

import numpy as np
import pytest

from keras_explainable.masking.segments import grid as grid_segments
from keras_explainable.methods.perturbation.lime import lime_rows
from support import keras_models
from support.calls import raw
from support.compare import close
from support.perturbation import SEED, SPACE
from support.selection import BACKEND, very_slow_compiled

pytestmark = very_slow_compiled


def test_captum_says_the_same():
    attr = pytest.importorskip("captum.attr", reason="Captum, to compare with, is not installed")
    if BACKEND != "torch":
        pytest.skip("Captum is PyTorch's")
    import torch

    model = keras_models.build("channels_first")
    images = torch.from_numpy(keras_models.images("channels_first"))
    units = torch.tensor([1, 4, 2])

    def forward(images):
        return model(images, training=False)

    with torch.no_grad():
        theirs = attr.Occlusion(forward).attribute(images, (3, 6, 5), (3, 4, 3), target=units, baselines=0.25)
        ours = raw("occlusion", model, images, units.numpy(), patch=(6, 5), stride=(4, 3), baseline=0.25)
        close([ours.maps[..., 0]], [theirs[:, 0].numpy()], 1e-4)
        labels = torch.from_numpy(grid_segments(SPACE, (2, 2))[0]).long()
        theirs = attr.ShapleyValues(forward).attribute(images, target=units, feature_mask=labels, baselines=0.25)
        ours = raw("kernel_shap", model, images, units.numpy(), segments=2, baseline=0.25)
        close([ours.maps[..., 0]], [theirs[:, 0].numpy()], 1e-4)


@pytest.mark.peers
def test_captum_s_regressions_say_the_same():
    attr = pytest.importorskip("captum.attr", reason="Captum, to compare with, is not installed")
    pytest.importorskip(
        "sklearn", reason="scikit-learn, which Captum's regressions need, is not installed: make test-peers"
    )
    if BACKEND != "torch":
        pytest.skip("Captum is PyTorch's")
    import torch
    from captum._utils.models.linear_model import SkLearnRidge

    model, x = keras_models.build("channels_first"), torch.from_numpy(keras_models.images("channels_first")[:1])
    labels = torch.from_numpy(grid_segments(SPACE, (2, 3))[0]).long()

    def forward(images):
        with torch.no_grad():
            return model(images, training=False)

    torch.manual_seed(0)
    drawn = attr.KernelShap(forward).attribute(x, target=1, feature_mask=labels, n_samples=2000)
    exact = raw("kernel_shap", model, x, 1, segments=(2, 3), baseline=0.0).maps[..., 0]
    close(drawn[:, 0].numpy(), exact, atol=0.03 * abs(exact).max())  # theirs is drawn
    # Their Lime draws z on its own, and measures distances on pixels: both are told ours.
    z = lime_rows(60, 6, SEED)
    rows = iter(torch.from_numpy(z).float())
    lime = attr.LimeBase(
        forward,
        SkLearnRidge(alpha=0.5),
        lambda *args, **kwargs: torch.tensor(np.exp(-((1 - np.sqrt(float(args[2].mean()))) ** 2) / (2 * 0.25**2))),
        lambda *args, **kwargs: next(rows)[None],
        True,
        lambda z, original, **kwargs: original * z[0][labels],
        None,
    )
    weights = lime.attribute(x, target=1, n_samples=60, show_progress=False)[0].numpy()
    ours = raw("lime", model, x, 1, segments=(2, 3), repetitions=60, ridge=0.5, baseline=0.0, seed=SEED).maps[0, ..., 0]
    close(ours, weights[labels.numpy()], atol=1e-4 * abs(weights).max())
