"""Input gradients (Simonyan et al., arXiv:1312.6034)."""

import torch

from saliency._explainer import Explainer, Target, ke


def cross_entropy(outputs: torch.Tensor) -> torch.Tensor:
    """Return the loss (N, units) of each class, -log softmax(outputs)."""
    return -torch.log_softmax(outputs.float(), dim=1)


class InputGradient(Explainer):
    """How strongly each pixel changes a class's score, or its cross-entropy if `loss`."""

    def __init__(self, model: torch.nn.Module, loss: bool = False) -> None:
        super().__init__(model)
        self.loss = loss

    def saliency(self, image: torch.Tensor, target_class: Target = None) -> torch.Tensor:
        """Return the maps (N, 1, H, W), sum over c of |d score / d image|. Arguments as in `FullGrad.saliency`."""
        score = cross_entropy if self.loss else None
        return self._map(ke.methods.gradient.gradients, image, target_class, score=score, reduce="sum")
