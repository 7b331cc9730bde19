"""Biases and the gradients where they are added."""

import torch

from saliency._explainer import IMAGE, Explainer, Target, compat, in_layout, ke, like


class FullGradExtractor(Explainer):
    """Biases and their gradients, one for each call of a layer with a bias, in the order of execution."""

    def __init__(self, model: torch.nn.Module, im_size: tuple[int, int, int] = IMAGE) -> None:
        super().__init__(model)
        self.im_size = im_size

    def getBiases(self) -> list[torch.Tensor]:
        """Return the current biases (C',). For batch normalisation, beta - mean gamma / sqrt(variance + eps)."""
        view = compat.view(self.model, torch.zeros(1, *self.im_size))
        return [*view.biases(view.biased()).values()]

    def getFeatureGrads(self, x: torch.Tensor, target_class: Target = None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the gradients of a class's score with respect to images (N, C, H, W) and where each bias is added.

        Raises:
            InputError: the target is a score, which belongs to an earlier run, and not a class.
        """
        if isinstance(target_class, torch.Tensor) and target_class.is_floating_point():
            raise ke.errors.InputError(
                "getFeatureGrads: a score came, and a class was expected, as an int, (N,), (N, 1) or None for the "
                "highest: the module is observed only during this call, so a score from an earlier run cannot be used."
            )
        view = compat.view(self.model, x.detach(), self._units(x, target_class))
        points = [compat.INPUT, *view.biased()]
        _, _, found = view.jacobian(points, keep=False)
        gradient, *rest = (like(x, in_layout(view, point, found[point])) for point in points)
        return gradient, rest
