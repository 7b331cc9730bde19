"""
From Xplique
============

.. code-block:: python

   from xplique.attributions import Occlusion, Saliency

   logits = keras.Model(model.input, model.layers[-2].output)
   targets = keras.utils.to_categorical(y, 10)
   saliency = Saliency(logits)(x, targets)
   occlusion = Occlusion(logits, patch_size=24, patch_stride=24, occlusion_value=0.0)(x, targets)

This page does not install that library. ``make test-peers`` does, and compares every line of :doc:`/coming-from`.
"""

import numpy as np

import keras_explainable as ke

model = ke.demo.load_model()  # your model, with its softmax if it has one
images, labels, masks = ke.demo.load_scenes(3, seed=2)
x, y = images.astype("float32"), labels.argmax(1)

# %%
# Targets are numbers, not one-hot rows. An ``operator`` is a ``score``.

scores, saliency = ke.gradients(model, x, y, reduce="max", verbose=0)
scores, occlusion = ke.occlusion(model, x, y, patch=24, stride=24, baseline=0.0, verbose=0)
ke.utils.visualize(images, overlays=np.concatenate([saliency, occlusion], -1), cols=3)

# %%
# The same values by hand: cover one square after another, and see how much the score drops.

before, expected = model.predict(x, verbose=0)[range(3), y], np.zeros(x.shape[:3])
for top in range(0, 96, 24):
    for left in range(0, 96, 24):
        covered = x.copy()
        covered[:, top : top + 24, left : left + 24] = 0.0
        lost = before - model.predict(covered, verbose=0)[range(3), y]
        expected[:, top : top + 24, left : left + 24] = lost[:, None, None]
raw = ke.explain("occlusion", model, x, y, patch=24, stride=24, baseline=0.0, verbose=0).maps[..., 0]
np.testing.assert_allclose(raw, expected, atol=1e-3)

# %%
# Metrics take maps of any library. ``ke.metrics`` has ``deletion`` and ``insertion`` too, and ``srg`` is the area
# between the two curves.

print(ke.metrics.srg(model, x, y, raw[..., None], verbose=0).values[:, 0])
