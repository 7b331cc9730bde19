"""
From tf-keras-vis
=================

.. code-block:: python

   from tf_keras_vis.gradcam import Gradcam
   from tf_keras_vis.saliency import Saliency
   from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
   from tf_keras_vis.utils.scores import CategoricalScore

   saliency = Saliency(model, model_modifier=ReplaceToLinear())(CategoricalScore(y), x)
   cams = Gradcam(model, model_modifier=ReplaceToLinear())(CategoricalScore(y), x, penultimate_layer="features")

This page does not install that library. ``make test-peers`` does, and compares every line of :doc:`/coming-from`.
"""

import keras
import numpy as np

import keras_explainable as ke

logits = ke.demo.load_model()
model = keras.Model(logits.input, keras.layers.Softmax()(logits.output))  # your model, which ends with a softmax
x, labels, masks = ke.demo.load_scenes(3, seed=2)
y = labels.argmax(1)

# %%
# No modifier is needed: the score before the softmax is found, and the model is not changed.

scores, saliency = ke.gradients(model, x, y, reduce="max", verbose=0)
scores, cams = ke.gradcam(model, x, y, layer="features", verbose=0)
ke.utils.visualize(x, overlays=np.concatenate([saliency, cams], -1), cols=3)

# %%
# The scores are those of the model without its softmax, and so are the maps.

np.testing.assert_allclose(scores[:, 0], logits.predict(x, verbose=0)[range(3), y], atol=1e-4)
np.testing.assert_allclose(cams, ke.gradcam(logits, x, y, layer="features", verbose=0).maps, atol=1e-5)

# %%
# ``smooth_samples`` is ``repetitions``, ``smooth_noise`` is ``noise``, and ``max_N`` of Score-CAM is ``max_channels``.

scores, smooth = ke.smoothgrad(model, x, y, repetitions=10, noise=0.05, reduce="max", verbose=0)
scores, few = ke.scorecam(model, x, y, max_channels=8, verbose=0)
ke.utils.visualize(x, overlays=np.concatenate([smooth, few], -1), cols=3)
