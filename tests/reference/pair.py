"""What PAIR's library `saliency` says of small models: blur IG, guided IG, XRAI and its segments.

`pair.npz` holds the values; `PYTHONPATH=src:tests python -m reference.pair`, beside saliency 0.2.1, made it. Gradients are
those of the NumPy twins, in float64, so that each difference is one of definition.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers as L

from reference.gradient import gradients
from support import keras_models
from support.to_reference import as_reference

FILE = Path(__file__).with_suffix(".npz")
UNIT, SIGMA, STEPS = 3, 5.0, 20
GUIDED = [(4, 0.25, 0.02), (20, 0.1, 0.2), (20, 0.1, 1.0), (7, 0.003, 0.3)]  # steps, fraction, greatest distance


def coloured():
    return keras_models.build("functional"), keras_models.images("functional", 1)


def gray():
    """One channel, over which a sum is a maximum."""
    stack = [L.Conv2D(8, 3, activation="gelu"), L.GlobalAveragePooling2D(), L.Dense(keras_models.UNITS)]
    x = np.random.default_rng(2).normal(size=(1, *keras_models.SIZE, 1)).astype("float32")
    return keras_models.randomize(keras.Sequential([keras.Input((*keras_models.SIZE, 1)), *stack])), x


def parts():
    """Two ways to divide an image into parts, as masks."""
    row, column = np.indices(keras_models.SIZE)
    return np.concatenate([[labels == n for n in range(6)] for labels in (row // 7 * 2 + column // 12, column // 4)])


def picture():
    """An image of the size at which theirs finds segments: soft spots, and stripes that are faint."""
    i, j = np.indices((224, 224)) / 224
    waves = [np.sin(9 * i * (1 + c) + 5 * j) + np.cos(7 * j - 3 * c * i) for c in range(3)]
    return (np.stack(waves, -1) + 0.3 * (np.sin(60 * i + 20 * j) > 0)[..., None]).astype("float32")


def values():
    """Everything that the file holds."""
    import saliency.core as peer
    from saliency.core import xrai

    quantile = np.quantile  # its last name for a parameter that NumPy 2.4 has no more
    np.quantile = lambda a, q, interpolation="linear": quantile(a, q, method=interpolation)

    def explained(method, subject, **params):
        model, x = subject
        net = as_reference(model)

        def call(images, call_model_args=None, expected_keys=None):
            return {peer.INPUT_OUTPUT_GRADIENTS: gradients(net, images, UNIT, reduce=None)[1][:, 0]}

        return method.GetMask(x[0].astype("float64"), call, **params)

    # Its own derivative is a difference of blurs that are grad_step apart.
    yield "blur", explained(peer.BlurIG(), coloured(), max_sigma=SIGMA, steps=STEPS, grad_step=1e-6)
    for i, (steps, fraction, distance) in enumerate(GUIDED):
        params = {"x_steps": steps, "fraction": fraction, "max_dist": distance}
        yield f"guided{i}", explained(peer.GuidedIG(), coloured(), **params)
    options = peer.XRAIParameters(steps=STEPS)
    options.experimental_params["min_pixel_diff"] = 1  # what `xrai` has for images this small
    yield "xrai", explained(peer.XRAI(), gray(), segments=list(parts()), extra_parameters=options)
    masks = np.stack(xrai._get_segments_felzenszwalb(picture()))
    yield "segments", np.array([[m.sum(), *(np.argwhere(m).sum(0))] for m in masks])  # areas, and where they are


if __name__ == "__main__":
    np.savez_compressed(FILE, **dict(values()))
