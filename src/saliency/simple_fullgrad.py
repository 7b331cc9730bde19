"""Simple FullGrad: gradients where biases are added, without the biases' values."""

import torch

from saliency._explainer import IMAGE, Explainer, Target, ke


class SimpleFullGrad(Explainer):
    """Like `FullGrad`, but with the gradient of each bias in place of bias x gradient."""

    def __init__(self, model: torch.nn.Module, im_size: tuple[int, int, int] = IMAGE) -> None:
        super().__init__(model)
        self.im_size = (1, *im_size)

    def saliency(self, image: torch.Tensor, target_class: Target = None) -> torch.Tensor:
        """Return the maps (N, 1, H, W) of `ke.methods.fullgrad.simple_full_gradients`. Arguments as in `FullGrad`."""
        return self._map(ke.methods.fullgrad.simple_full_gradients, image, target_class)
