"""Curves of many images as their mean and spread, in the memory of one curve."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SURE = 1.96  # standard errors on both sides of a mean: this interval contains the true mean in 95 % of cases


@dataclass
class Curve:
    """The mean of images' curves and its spread.

    Args:
        share: (T,), the share of the pixels at each point.
        mean: (T,), over images.
        squares: (T,), the sum of the squared differences from the mean.
        images: how many images have been added.
    """

    share: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    images: int = 0

    @classmethod
    def over(cls, share: np.ndarray) -> "Curve":
        """The curve of no images over some shares."""
        return cls(share, np.zeros(share.shape), np.zeros(share.shape))

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation (T,) over images; NaN for a single one."""
        return np.sqrt(self.squares / (self.images - 1)) if self.images > 1 else np.full(self.mean.shape, np.nan)

    @property
    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends (T,) of the 95 % interval of the mean, by the normal approximation. Images count as independent."""
        away = SURE * self.deviation / np.sqrt(max(self.images, 1))
        return self.mean - away, self.mean + away

    def add(self, values: np.ndarray) -> None:
        """Add the curves (B, T) of images. Those with NaN are left out.

        Reference: Chan, Golub & LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances
        (1979).
        """
        values = np.asarray(values, "float64")
        values = values[~np.isnan(values).any(axis=1)]
        if not len(values):
            return
        mean, total = values.mean(axis=0), self.images + len(values)
        apart = mean - self.mean
        self.squares = self.squares + ((values - mean) ** 2).sum(axis=0) + apart**2 * self.images * len(values) / total
        self.mean, self.images = self.mean + apart * len(values) / total, total


def add(kept: dict[str, Curve], found: Mapping[str, np.ndarray]) -> None:
    """Add a batch's curves (B, K, T) over "share" (B, K, T), the mean over units, to the curves of the same names.

    All are read at the shares of the first image. Curves over anything else than shares of pixels are not kept."""
    if "share" not in found:
        return
    for name, values in found.items():
        if name != "share":
            curve = kept.setdefault(name, Curve.over(np.array(found["share"][0, 0])))
            curve.add(_at(curve.share, found["share"], values).mean(axis=1))


def _at(share: np.ndarray, shares: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Curves (B, K, T') read at other shares (T,), linearly."""
    if shares.shape[-1] == len(share) and (shares == share).all():
        return values
    rows = zip(shares.reshape(-1, shares.shape[-1]), values.reshape(-1, values.shape[-1]), strict=True)
    return np.stack([np.interp(share, *row) for row in rows]).reshape(*values.shape[:2], len(share))
