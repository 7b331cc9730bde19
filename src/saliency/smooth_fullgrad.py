"""Smooth FullGrad: full gradients averaged over noisy copies, as SmoothGrad averages gradients."""

import torch

from saliency._explainer import IMAGE, Explainer, Target, ke


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
        settings = {"repetitions": self.num_samples, "noise": self.std_spread, "seed": self.seed}
        return self._map(ke.methods.fullgrad.smooth_full_gradients, image, target_class, **settings)
