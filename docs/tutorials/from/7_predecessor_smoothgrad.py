"""
From keras-explainable 0.0: Smooth-Grad
=======================================

The program of the Smooth-Grad page in the documentation of keras-explainable 0.0, on Keras 3: explain several noisy
copies of each image, and average the maps.
"""

import numpy as np

import keras_explainable as ke

SAMPLES = 4
images, labels, masks = ke.demo.load_scenes(SAMPLES, seed=2)
inputs = images.astype("float32")
model = ke.demo.load_model()  # that page used an Xception with ImageNet weights

logits = model.predict(inputs, verbose=0)
indices = np.argsort(logits, axis=-1)[:, ::-1]
explaining_units = indices[:, :1]

# %%
# ``smooth`` takes a method and returns a method. You need no ``tf.function`` around either: ``ke.explain`` compiles
# them. ``noise`` is in the units of the images, here 0 to 255; with ``noise_kind="range"`` it is a fraction of each
# image's range.

smoothgrad = ke.methods.meta.smooth(ke.methods.gradient.gradients, repetitions=10, noise=5.0)
_, smoothed_maps = ke.explain(
    smoothgrad, model, inputs, explaining_units, postprocessing=ke.filters.absolute_normalize, verbose=0
)

# %%
# The plain gradients, to compare.

_, maps = ke.gradients(model, inputs, explaining_units, verbose=0)
ke.utils.visualize([*images, *maps, *smoothed_maps], cols=SAMPLES)

# %%
# The noise depends on ``seed`` alone, so the same call gives the same maps. Without noise, the mean is the gradient
# itself.

few = ke.methods.meta.smooth("gradients", repetitions=3, noise=5.0)
once, twice = (ke.explain(few, model, inputs, explaining_units, seed=1, verbose=0).maps for _ in range(2))
np.testing.assert_array_equal(once, twice)
silent = ke.methods.meta.smooth("gradients", repetitions=3, noise=0.0)
_, still = ke.explain(silent, model, inputs, explaining_units, verbose=0)
_, plain = ke.explain("gradients", model, inputs, explaining_units, verbose=0)
np.testing.assert_allclose(still, plain, atol=1e-5)

# %%
# ``ke.smoothgrad`` is the paper's method. It averages signed gradients and takes absolute values last, so noise that
# changes its sign cancels. ``smooth("gradients")`` averages absolute values.

_, paper = ke.smoothgrad(model, images, "predicted", repetitions=10, noise=0.02, verbose=0)
ke.utils.visualize(images, overlays=paper, cols=SAMPLES)
