"""Smooth FullGrad: full gradients averaged over noisy copies, as SmoothGrad averages gradients."""

import torch

from saliency._explainer import IMAGE, Explainer, Target, ke


class SmoothFullGrad(Explainer):
    """FullGrad of the mean contributions over `num_samples` noisy copies.

    The noise has sigma = `std_spread` x (max - min) of each image."""

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
        """Return FullGrad's maps (N, 1, H, W) for the mean of each signed contribution. Arguments as in
        `FullGrad.saliency`. The class is chosen once, from the image without noise."""
        settings = {"repetitions": self.num_samples, "noise": self.std_spread, "seed": self.seed}
        return self._map(ke.methods.fullgrad.smooth_full_gradients, image, target_class, **settings)
