"""
Segmentation
============

A segmentation model scores every pixel. ``ke.scores.region`` says which pixels to explain: those of a mask, or those
that the model assigns to the class.
"""

import keras
import numpy as np

import keras_explainable as ke

# %%
# Without its pooling, the demo network becomes a segmentation model: it has a score for each class at 12 x 12
# positions. Use your own model here.

classifier = ke.demo.load_model()
features = classifier.get_layer("features").output
segmenter = keras.Model(classifier.input, classifier.get_layer("logits")(features))
images, labels, masks = ke.demo.load_scenes(2, seed=3, objects=2)
print(segmenter.output_shape)

# %%
# With ``mask=None``, the score is the mean over the positions that the model assigns to the class. In Keras, the
# classes are on the last axis.

units = labels.argmax(1)  # one class of each scene
rows = [
    ke.layercam(
        segmenter,
        images[i : i + 1],
        score=ke.scores.region(None, int(units[i]), axis=-1),
        layer="block3_output",
        verbose=0,
    ).maps[0]
    for i in range(2)
]
ke.utils.visualize(images, [ke.demo.CLASSES[unit] for unit in units], overlays=[row[..., 0] for row in rows], cols=2)

# %%
# With a mask of its own, each image is explained for its own region.

regions = np.stack([masks[i, units[i]] for i in range(2)]).astype("float32")
own = [
    ke.gradients(segmenter, images[i : i + 1], score=ke.scores.region(regions[i], int(units[i]), axis=-1), verbose=0)
    for i in range(2)
]
ke.utils.visualize(images, overlays=[one.maps[0, ..., 0] for one in own], cols=2)

# %%
# A pixel far from the region cannot matter as much as one in it: the mean gradient in the region is larger.

for region, one in zip(regions, own, strict=True):
    inside, outside = one.maps[0, region > 0].mean(), one.maps[0, region == 0].mean()
    print(f"mean in the region {inside:.3f}, elsewhere {outside:.3f}")
    assert inside > 2 * outside
