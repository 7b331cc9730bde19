"""
A PyTorch module
================

A plain ``torch.nn.Module`` is explained by the same calls, with the same numbers. Keras must run on PyTorch:
``KERAS_BACKEND=torch`` in the environment, before Keras is imported.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch

import keras_explainable as ke

module = ke.demo.load_module()  # any nn.Module; this one has the weights of the demo network
images, labels, masks = ke.demo.load_scenes(3, seed=1)
x = torch.from_numpy(images).permute(0, 3, 1, 2).float()  # (N, C, H, W), as modules take them

# %%
# Maps are ``(N, H, W, K)``, channels last, for modules too. ``as_numpy=False`` returns tensors on the module's device.

scores, maps = ke.gradcam(module, x, "predicted", verbose=0)
ke.utils.visualize(images, overlays=maps, cols=3)

# %%
# The gradient equals PyTorch's own.

leaf = x.clone().requires_grad_()
units = module(leaf).argmax(1)
(gradient,) = torch.autograd.grad(module(leaf)[range(3), units].sum(), leaf)
ours = ke.explain("gradients", module, x, "predicted", verbose=0).maps[..., 0]
np.testing.assert_allclose(ours, gradient.abs().mean(1).numpy(), atol=1e-5)

# %%
# The module is left as it was: no hook, no ``.grad``, no changed flag.

assert not any(part._forward_hooks or part._backward_hooks for part in module.modules())
assert all(parameter.grad is None for parameter in module.parameters())

# %%
# Layers are named as PyTorch names them.

print([signal.path for signal in ke.inspection.signals(module, x)][-4:])
