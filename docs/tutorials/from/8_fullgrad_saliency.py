"""
From fullgrad-saliency
======================

The package ``saliency`` comes with this library, so your imports and calls work as they are. Both sides run here.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported

import numpy as np
import torch

import keras_explainable as ke
from saliency.fullgrad import FullGrad
from saliency.smoothgrad import SmoothGrad

module = ke.demo.load_module()  # your module
images, labels, masks = ke.demo.load_scenes(3, seed=2)
x = torch.from_numpy(images).permute(0, 3, 1, 2).float()

# %%
# Maps are ``(N, 1, H, W)`` tensors there, and ``(N, H, W, K)`` arrays here.

fullgrad = FullGrad(module)
fullgrad.checkCompleteness()
there = fullgrad.saliency(x).detach().numpy()[:, 0]
here = ke.full_gradients(module, x, "predicted", postprocessing=None, verbose=0).maps[..., 0]
np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)

# %%
# ``save_saliency_map`` is ``visualize(..., to_file="maps.png")``.

scores, maps = ke.full_gradients(module, x, "predicted", verbose=0)
ke.utils.visualize(images, overlays=maps, cols=3)

# %%
# ``num_samples`` is ``repetitions``, and ``std_spread`` is ``noise``.

there = SmoothGrad(module, num_samples=10, std_spread=0.15).saliency(x).detach().numpy()[:, 0]
here = ke.smoothgrad(
    module, x, "predicted", repetitions=10, noise=0.15, reduce="sum", postprocessing=None, verbose=0
).maps[..., 0]
np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-4)
