"""SmoothGrad (Smilkov et al., arXiv:1706.03825)."""

import torch

from saliency._explainer import Explainer, Target, ke


class SmoothGrad(Explainer):
    """The mean gradient over `num_samples` noisy copies.

    The noise has sigma = `std_spread` x (max - min) of each image."""

    def __init__(
        self, model: torch.nn.Module, num_samples: int = 25, std_spread: float = 0.15, seed: int | None = None
    ) -> None:
        super().__init__(model)
        self.num_samples, self.std_spread, self.seed = num_samples, std_spread, seed

    def saliency(self, image: torch.Tensor, target_class: Target = None) -> torch.Tensor:
        """Return the maps (N, 1, H, W), sum over c of |mean gradient|. Arguments as in `FullGrad.saliency`.

        The class is chosen once, from the image without noise.
        """
        settings = {"repetitions": self.num_samples, "noise": self.std_spread, "seed": self.seed}
        return self._map(
            ke.methods.gradient.smoothgrad, image, target_class, noise_kind="range", reduce="sum", **settings
        )
