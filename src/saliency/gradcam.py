"""Grad-CAM (Selvaraju et al., arXiv:1610.02391) at the last convolution, as fullgrad-saliency defines it."""

from typing import Any

import torch

from saliency._explainer import Explainer, Target, compat, ke


def rectified_gradcam(model: Any, inputs: Any, indices: Any = None) -> tuple:
    """maps = resize(relu(sum_c mean_s(d score / d A_c) relu(A_c))), A the last convolution's output; align_corners.

    Raises:
        LayerError: the module has no convolution.
    """
    view = compat.view(model, inputs, indices)
    point = last_convolution(view)
    scores, a, g = view.jacobian([point])
    maps = compat.weighted(a[point].relu(), g[point].mean(tuple(range(2, 2 + view.rank))))
    return scores, compat.resize(maps.relu(), view.size, align_corners=True)


def last_convolution(view: compat.View) -> compat.Point:
    """Return the output of the convolution that runs last, among those whose output has more than one pixel."""
    calls = compat.spatial_calls(view.trace, view.rank)
    kinds = compat.CONVOLUTIONS
    convolutions = [call for call in calls if isinstance(view.adapter.layer(call.path), kinds)]
    if not convolutions:
        raise ke.errors.LayerError(
            "This Grad-CAM explains the last convolution, but this module has no convolution with a spatial output. "
            "Name another layer: ke.gradcam(module, x, y, layer=...)."
        )
    return convolutions[-1].output


class GradCAM(Explainer):
    """The rectified channels of the last convolution, weighted by their mean gradients.

    `ke.gradcam` weights the raw activations instead."""

    def saliency(self, image: torch.Tensor, target_class: Target = None) -> torch.Tensor:
        """Return the maps (N, 1, H, W), not normalised. Arguments as in `FullGrad.saliency`."""
        return self._map(rectified_gradcam, image, target_class)
