"""Biases and the gradients where they are added."""

import torch

from saliency._explainer import IMAGE, Explainer, Target, compat, in_layout, ke, like


class FullGradExtractor(Explainer):
    """Biases and their gradients in the same order: of execution, one for each call of a layer with a bias."""

    def __init__(self, model: torch.nn.Module, im_size: tuple[int, int, int] = IMAGE) -> None:
        super().__init__(model)
        self.im_size = im_size

    def getBiases(self) -> list[torch.Tensor]:
        """The biases (C',) at this moment; of batch normalisation beta - mean gamma / sqrt(variance + eps)."""
        view = compat.view(self.model, torch.zeros(1, *self.im_size))
        return [*view.biases(view.biased()).values()]

    def getFeatureGrads(self, x: torch.Tensor, target_class: Target = None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The gradients of a class's score with respect to images (N, C, H, W), and where each bias was added.

        Raises:
            InputError: a score came, which belongs to a run that is over.
        """
        if isinstance(target_class, torch.Tensor) and target_class.is_floating_point():
            raise ke.errors.InputError(
                "getFeatureGrads got a score, and expected a class: an int, (N,), (N, 1) or None for the highest. "
                "The module is watched only while this runs it, so a score from an earlier run tells nothing."
            )
        view = compat.view(self.model, x.detach(), self._units(x, target_class))
        points = [compat.INPUT, *view.biased()]
        _, _, found = view.jacobian(points, keep=False)
        gradient, *rest = (like(x, in_layout(view, point, found[point])) for point in points)
        return gradient, rest
