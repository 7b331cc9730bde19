"""
Your own method
===============

A method is a function of a view. The view holds the model, the images and the classes. Once it is registered, it has a
shortcut, works on the command line, and takes part in every comparison, like the built-in methods.
"""

import keras
import numpy as np

import keras_explainable as ke

# %%
# This one is Grad-CAM without its mean over space: each position has its own weight. (It is known as HiResCAM.)


@ke.methods.explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:2011.08891")
def placecam(view: ke.models.View, layer=None):
    """The channels of a layer, weighted by the gradient at each position."""
    point = view.signal(layer)
    scores, signals, gradients = view.jacobian([point])  # (B, K), {point: (B, *S, C)}, {point: (B, K, *S, C)}
    return scores, keras.ops.einsum("b...c,bk...c->b...k", signals[point], gradients[point])


# %%
# It now works like any other method: with batches, several classes, resizing and PyTorch modules.

model = ke.demo.load_model()
images, labels, masks = ke.demo.load_scenes(3, seed=2)
scores, maps = ke.placecam(model, images, "predicted", postprocessing=ke.filters.positive_normalize, verbose=0)
ke.utils.visualize(images, overlays=maps, cols=3)

# %%
# A second source tells whether it is right: here, this library's own implementation of the same paper.

expected = ke.hirescam(model, images, "predicted", verbose=0).maps
np.testing.assert_allclose(maps, expected, atol=1e-5)

# %%
# Even without registration, ``ke.explain`` takes any function ``(model, inputs, indices=None) -> (scores, maps)``. Meta
# methods run another method several times: this one averages over noisy copies.

smooth = ke.methods.meta.smooth("placecam", repetitions=5, noise=0.02, noise_kind="range")
scores, smoothed = ke.explain(smooth, model, images, "predicted", verbose=0)
assert smoothed.shape == maps.shape and np.isfinite(smoothed).all()

ke.registry.METHODS.pop("placecam")  # so that the other tutorials do not list it
