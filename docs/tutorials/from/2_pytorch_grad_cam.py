"""
From pytorch-grad-cam
=====================

.. code-block:: python

   from pytorch_grad_cam import GradCAM
   from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

   with GradCAM(model=module, target_layers=[module.features]) as cam:
       maps = cam(input_tensor=x, targets=[ClassifierOutputTarget(unit) for unit in y])

This page does not install that library. ``make test-peers`` does, and compares every line of :doc:`/coming-from`.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported

import numpy as np
import torch

import keras_explainable as ke

module = ke.demo.load_module()  # your module
images, labels, masks = ke.demo.load_scenes(3, seed=2)
x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
y = labels.argmax(1).tolist()

# %%
# Targets are numbers, layers are names, and no context manager is needed: nothing stays on the module.

scores, maps = ke.gradcam(module, x, y, layer="features", verbose=0)
ke.utils.visualize(images, overlays=maps, cols=3)

# %%
# Any other target is a ``score``: the difference of two classes, a region of a segmentation, or your own function.

margin = ke.gradcam(module, x, score=ke.scores.margin(y[0], y[1]), layer="features", verbose=0)
own = ke.gradcam(module, x, y, score=lambda outputs: outputs.softmax(1), layer="features", verbose=0)

# %%
# The same values in plain PyTorch: the activations of the layer, weighted by their mean gradients.

kept = []
hook = dict(module.named_modules())["features"].register_forward_hook(lambda layer, given, made: kept.append(made))
chosen = module(x)[range(3), y].sum()
hook.remove()
(gradient,) = torch.autograd.grad(chosen, kept[0])
expected = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).detach().numpy()
raw = ke.explain("gradcam", module, x, y, layer="features", resizing=False, verbose=0).maps[..., 0]
np.testing.assert_allclose(raw, expected, atol=1e-4)

# %%
# ``FullGrad`` in pytorch-grad-cam normalises each channel by itself. Here it is the one of its authors;
# ``aggregation="mean"`` gives the other one. No ``reshape_transform`` is needed: see :doc:`/inputs`.

scores, maps = ke.full_gradients(module, x, y, verbose=0)
ke.utils.visualize(images, overlays=maps, cols=3)
