"""Smooth FullGrad: full gradients averaged over noisy copies, as SmoothGrad averages gradients."""

from typing import Any

import torch

from saliency._explainer import IMAGE, Explainer, Target, ke

fullgrad = ke.methods.fullgrad


def contributions(model: Any, inputs: Any, indices: Any = None) -> tuple:
    """The scores (N, K), and what the input and each bias contribute to them place by place, (N, K, *S', C')."""
    scores, gradient, parts, _ = fullgrad.decomposition(model, inputs, indices)
    view = ke.models.view(model, inputs)
    spatial = [v for point, v in zip(view.biased(), parts, strict=True) if view.is_spatial(point)]
    return scores, gradient * view.x[:, None], *spatial


class SmoothFullGrad(Explainer):
    """FullGrad of the mean contributions over `num_samples` noisy copies, sigma being `std_spread` of each image's own
    max - min."""

    def __init__(
        self,
        model: torch.nn.Module,
        num_samples: int = 25,
        std_spread: float = 0.15,
        im_size: tuple[int, int, int] = IMAGE,
        seed: int | None = None,
    ) -> None:
        super().__init__(model)
        self.num_samples, self.std_spread, self.im_size, self.seed = num_samples, std_spread, (1, *im_size), seed

    def saliency(self, image: torch.Tensor, target_class: Target = None) -> torch.Tensor:
        """The maps (N, 1, H, W), FullGrad's for the mean of each signed contribution; arguments as in
        `FullGrad.saliency`. The class is chosen once, from the image without noise."""
        return self._map(self._smoothed, image, target_class)

    def _smoothed(self, model: Any, inputs: Any, indices: Any) -> tuple:
        mean = ke.methods.meta.smooth(contributions, self.num_samples, self.std_spread, "range")
        scores, *terms = mean(model, inputs, indices, self.seed)
        size = tuple(inputs.shape[2:])
        maps = sum(ke.resize.resize(fullgrad.psi_sum(term), size, align_corners=True, axis=2) for term in terms)
        return scores, maps.movedim(1, -1)
