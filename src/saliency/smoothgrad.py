"""SmoothGrad (Smilkov et al., arXiv:1706.03825)."""

import torch

from saliency._explainer import Explainer, Target, ke


class SmoothGrad(Explainer):
    """The mean gradient over `num_samples` noisy copies, sigma being `std_spread` of each image's own max - min."""

    def __init__(
        self, model: torch.nn.Module, num_samples: int = 25, std_spread: float = 0.15, seed: int | None = None
    ) -> None:
        super().__init__(model)
        self.num_samples, self.std_spread, self.seed = num_samples, std_spread, seed

    def saliency(self, image: torch.Tensor, target_class: Target = None) -> torch.Tensor:
        """The maps (N, 1, H, W), sum over c of |mean gradient|; arguments as in `FullGrad.saliency`.

        The class is chosen once, from the image without noise.
        """
        settings = {"repetitions": self.num_samples, "noise": self.std_spread, "seed": self.seed}
        return self._map(
            ke.methods.gradient.smoothgrad, image, target_class, noise_kind="range", reduce="sum", **settings
        )
