"""
Detection
=========

A detector returns boxes and scores. ``ke.scores.detection`` explains the model's own detections, and ``ke.scores.box``
any box that you draw.
"""

import keras
import numpy as np
from keras import ops

import keras_explainable as ke

# %%
# The demo network becomes a small detector: each of its 12 x 12 positions proposes a square of 32 pixels around itself,
# with a probability for each class. The detectors of torchvision and Hugging Face are recognised by their outputs.

SIDE, CELL = 32, 8


class Squares(keras.layers.Layer):
    """A fixed square around each position, for each image."""

    def call(self, scores):
        centre = (np.stack(np.meshgrid(np.arange(12), np.arange(12)), -1).reshape(-1, 2) + 0.5) * CELL
        boxes = np.concatenate([centre - SIDE / 2, centre + SIDE / 2], -1).astype("float32")
        return ops.zeros_like(scores[..., :4]) + ops.convert_to_tensor(boxes)


classifier = ke.demo.load_model()
logits = classifier.get_layer("logits")(classifier.get_layer("features").output)
places = keras.layers.Rescaling(0.05)(keras.layers.Reshape((144, 10))(logits))  # single positions score up to a hundred
scores = keras.layers.Activation("sigmoid")(places)
detector = keras.Model(classifier.input, {"boxes": Squares()(scores), "scores": scores})

# %%
# The most confident detection of each image, explained by the gradient. Box and class stay fixed when a method changes
# the images.

images, labels, masks = ke.demo.load_scenes(3, seed=3, objects=2)
found = detector(images.astype("float32"))
y = ke.scores.detection(found)
result = ke.gradients(detector, images, y, verbose=0)
ke.utils.visualize(images, overlays=result.maps, cols=3)

# %%
# Or any box that you choose, with its class. ``ke.rise`` needs only scores, so it explains any detector.

place, unit = np.unravel_index(keras.ops.convert_to_numpy(found["scores"])[0].argmax(), (144, 10))
box = keras.ops.convert_to_numpy(found["boxes"])[0, place]
drawn = ke.rise(detector, images[:1], score=ke.scores.box(box, unit=int(unit)), repetitions=300, verbose=0)
ke.utils.visualize(images[:1], [ke.demo.CLASSES[unit]], overlays=drawn.maps)

# %%
# The gradient of the detection lies in and around its box: the position that proposed it does not see pixels far away.

left, top, right, bottom = (int(round(float(side))) for side in np.clip(box, 0, 96))
inside = result.maps[0, top:bottom, left:right].mean()
print(f"mean in the box {inside:.3f}, of the whole image {result.maps[0].mean():.3f}")
assert inside > 1.5 * result.maps[0].mean()
