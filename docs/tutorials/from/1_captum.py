"""
From Captum
===========

Captum's attributions and ours, side by side on the same module. Both run here, and their values are compared.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Saliency

import keras_explainable as ke

module = ke.demo.load_module()  # your module
images, labels, masks = ke.demo.load_scenes(3, seed=2)
x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
y = labels.argmax(1).tolist()  # Captum's `target`

# %%
# Saliency. Captum keeps the channels of the image; with ``reduce=None``, so do we: ``(N, K, H, W, C)``.

there = Saliency(module).attribute(x, target=y).numpy()
scores, maps = ke.explain("gradients", module, x, y, verbose=0)
np.testing.assert_allclose(maps[..., 0], there.mean(1), atol=1e-5)

# %%
# Integrated gradients: ``n_steps`` is ``repetitions``, and ``baselines`` is ``baseline``. Both use Gauss-Legendre
# points.

there = IntegratedGradients(module).attribute(x, baselines=100.0, target=y, n_steps=20).detach().numpy()
here = ke.explain("integrated_gradients", module, x, y, baseline=100.0, repetitions=20, verbose=0)
np.testing.assert_allclose(here.maps[..., 0], there.sum(1), atol=1e-3)

# %%
# The convergence delta is in ``.about``, relative to the change of the score. If it is above 5 %, a warning says how
# many repetitions would be enough.

print(f"gap {here.about['gap']:.1%}")

# %%
# Grad-CAM. Captum takes a layer and returns values of its size; you enlarge them yourself. Here the layer's name is
# enough, or no name at all, and the map has the size of the images.

layer = dict(module.named_modules())["features"]
there = LayerGradCam(module, layer).attribute(x, target=y).detach().numpy()
here = ke.explain("gradcam", module, x, y, layer="features", resizing=False, verbose=0)
np.testing.assert_allclose(here.maps[..., 0], there[:, 0], atol=1e-4)

scores, maps = ke.gradcam(module, x, y, verbose=0)
ke.utils.visualize(images, overlays=maps, cols=3)
