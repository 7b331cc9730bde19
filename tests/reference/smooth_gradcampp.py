"""The slow twin of `keras_explainable.methods.cams.smooth_gradcampp`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from reference.net import Maps, Net, forward, jacobian, scores_of


def smooth_gradcampp(
    net: Net, x: np.ndarray, y: Any = None, noises: Sequence[np.ndarray] = (), layer: str | None = None
) -> Maps:
    """Grad-CAM++ with the means over noisy images of the gradient, its square and its cube; the signal is the clean
    image's."""
    layer = layer or net.signal
    values = forward(net, x)
    a = values[layer]
    draws = [jacobian(net, x + noise, y, [layer])[2][layer] for noise in noises]
    first, second, third = (np.mean([g**power for g in draws], axis=0) for power in (1, 2, 3))
    scores = scores_of(net, values, y)
    maps = np.zeros((*a.shape[:-1], scores.shape[1]))
    for b in range(len(a)):
        for k in range(scores.shape[1]):
            for c in range(a.shape[-1]):
                below = 2 * second[b, k, ..., c] + a[b, ..., c].sum() * third[b, k, ..., c]
                alpha = np.where(below != 0, second[b, k, ..., c] / np.where(below != 0, below, 1), 0)
                maps[b, ..., k] += (alpha * np.maximum(first[b, k, ..., c], 0)).sum() * a[b, ..., c]
    return scores, maps
