"""The slow twins of `keras_explainable.methods.cams.eigencam`, by the singular values of one image after another."""

from typing import Any

import numpy as np

from reference.net import Maps, Net, forward, jacobian, scores_of


def _component(values: np.ndarray) -> np.ndarray:
    """The projection (*S') of values (*S', C) on their first principal component, with the sign of their mean."""
    x = values.reshape(-1, values.shape[-1])
    x = x - x.mean(0)
    along = x @ np.linalg.svd(x, full_matrices=False)[2][0]
    return (along * (1 if along @ x.mean(1) >= 0 else -1)).reshape(values.shape[:-1])


def eigencam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None) -> Maps:
    """The first principal component of the signal, for every unit."""
    values = forward(net, x)
    scores, maps = scores_of(net, values, y), np.stack([_component(a) for a in values[layer or net.signal]])
    return scores, np.repeat(maps[..., None], scores.shape[-1], axis=-1)


def eigengradcam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None) -> Maps:
    """The first principal component of signal times gradient."""
    layer = layer or net.signal
    scores, values, g = jacobian(net, x, y, [layer])
    maps = [[_component(a * one) for one in units] for a, units in zip(values[layer], g[layer], strict=True)]
    return scores, np.moveaxis(np.array(maps), 1, -1)
