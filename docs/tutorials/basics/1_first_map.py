"""
A first map
===========

Which pixels led to the model's prediction? Grad-CAM answers with one map for each image.
"""

import numpy as np

import keras_explainable as ke

model = ke.demo.load_model()  # or your own Keras model
images, labels, masks = ke.demo.load_scenes(6, seed=1)  # images (N, 96, 96, 3) from 0 to 255

# %%
# One call explains a batch, like ``model.predict``. ``"predicted"`` explains the class that each image scores highest.

scores, maps = ke.gradcam(model, images, "predicted", verbose=0)
print(scores.shape, maps.shape)

# %%
# The maps have values from 0 to 1 and the size of the images: one for each image and each explained class. The score is
# the logit, that is, the number before the softmax.

predicted = model.predict(images, verbose=0).argmax(1)
names = [ke.demo.CLASSES[unit] for unit in predicted]
ke.utils.visualize(images, names, overlays=maps, cols=3)

# %%
# Is the largest value of each map on the object that the class names? The scenes come with masks, so we can count.

hits = [masks[i, predicted[i]].flat[maps[i].argmax()] for i in range(len(images))]
print(f"{sum(hits)} of {len(hits)} maps have their largest value on the object")
assert np.mean(hits) >= 5 / 6
