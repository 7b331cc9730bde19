"""Mosaics of images, for the metric `focus`."""

from typing import Any

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.runtime.validation import check_number


def mosaics(
    x: Any, y: Any, number: int, seed: int = 0, channels_first: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mosaics of two images of a class and two of other classes, for `ke.metrics.focus`.

    Args:
        x: images (N, H, W, C), or (N, C, H, W) with `channels_first`. Mosaics have twice their height and width: for a
            model of a fixed size, give images of half that size.
        y: the class of each image, (N,).
        number: the number of mosaics.
        seed: the seed of which images are drawn, and of their places.

    Returns:
        The mosaics, their classes (M,), and the masks (M, 2H, 2W) of the quadrants that show the class.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 4 or y.shape != (len(x),):
        raise InputError(
            f"Images of shape {x.shape} and classes of shape {y.shape} came: (N, H, W, C) and (N,) were expected."
        )
    check_number("number", number, lambda n: float(n).is_integer() and n >= 1, "a whole number, at least one,")
    several = [unit for unit in np.unique(y) if (y == unit).sum() >= 2 and (y != unit).sum() >= 2]
    if not several:
        raise InputError("Mosaics need a class with two images or more, and two images of other classes.")
    rng = np.random.default_rng(seed)
    images, units, masks = [], [], []
    height, width = x.shape[2:] if channels_first else x.shape[1:3]
    for _ in range(int(number)):
        unit = rng.choice(several)
        own = rng.choice(np.flatnonzero(y == unit), 2, replace=False)
        chosen = np.concatenate([own, rng.choice(np.flatnonzero(y != unit), 2, replace=False)])
        places = rng.permutation(4)
        tiles, shown = x[chosen[places]], places < 2
        axis = 1 if channels_first else 0
        rows = [np.concatenate(list(tiles[i : i + 2]), axis=axis + 1) for i in (0, 2)]
        images.append(np.concatenate(rows, axis=axis))
        masks.append(np.kron(shown.reshape(2, 2), np.ones((height, width), bool)))
        units.append(unit)
    return np.stack(images), np.array(units), np.stack(masks)
