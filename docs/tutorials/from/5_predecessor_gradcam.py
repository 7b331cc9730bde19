"""
From keras-explainable 0.0: Grad-CAM
====================================

The program of the Grad-CAM page in the documentation of keras-explainable 0.0, on Keras 3. Your code works as it is;
each step below says what you no longer need.
"""

import keras
import numpy as np

import keras_explainable as ke

SAMPLES = 4
images, labels, masks = ke.demo.load_scenes(SAMPLES, seed=2)

# %%
# That page used an Xception with ImageNet weights, ``keras.applications.Xception(classifier_activation=None)``, and
# scaled the images. This one uses the network that comes with the package, which scales them itself.

model = ke.demo.load_model()
inputs = images.astype("float32")
print(f"Spatial map sizes: {model.get_layer('pool').input.shape}")

# %%
# The most likely class of each sample. One column gives one map for each image; ``y="predicted"`` does the same.

logits = model.predict(inputs, verbose=0)
indices = np.argsort(logits, axis=-1)[:, ::-1]
explaining_units = indices[:, :1]

# %%
# Version 0.0 needed a model that returns its scores and the last maps. ``expose`` still makes it. Grad-CAM now finds
# the maps by itself, so the line can go.

exposed = ke.inspection.expose(model)
_, cams = ke.gradcam(exposed, inputs, explaining_units, verbose=0)
ke.utils.visualize(
    images=[*images, *cams, *images],
    overlays=[None] * (2 * len(images)) + [*cams],
    cols=SAMPLES,
)

# %%
# The maps show the positive contributions, scaled from 0 to 1 by ``ke.filters.positive_normalize``, and then enlarged.
# ``ke.explain`` returns them raw.

_, raw = ke.explain(ke.methods.cams.gradcam, exposed, inputs, explaining_units, resizing=False, verbose=0)
_, small = ke.gradcam(exposed, inputs, explaining_units, resizing=False, verbose=0)
np.testing.assert_allclose(keras.ops.convert_to_numpy(ke.filters.positive_normalize(raw)), small, atol=1e-5)

# %%
# Today's line gives the same maps.

np.testing.assert_allclose(ke.gradcam(model, images, "predicted", verbose=0).maps, cams, atol=1e-5)
