"""
Several classes, and why one rather than another
================================================

Each class that you ask for has its own map. Maps are never summed.
"""

import numpy as np

import keras_explainable as ke

model = ke.demo.load_model()
images, labels, masks = ke.demo.load_scenes(4, seed=3, objects=2)
classes = np.stack([np.flatnonzero(row) for row in labels])  # the two classes of each scene, (N, 2)

# %%
# ``y`` may be a number for each image, ``(N,)``, several, ``(N, K)``, or ``"top-3"``. Two classes give two maps.

scores, maps = ke.gradcam(model, images, classes, verbose=0)
print(scores.shape, maps.shape)
names = [ke.demo.CLASSES[unit] for unit in classes.T.flat]
ke.utils.visualize(images, names, overlays=maps, cols=4)

# %%
# The two maps of a scene lie on different objects. We count how often each map has its peak on its own object.

hits = [masks[i, classes[i, k]].flat[maps[i, ..., k].argmax()] for i in range(4) for k in range(2)]
print(f"{sum(hits)} of {len(hits)} maps have their largest value on their own object")
assert sum(hits) >= 6

# %%
# Why this class rather than that one? ``margin`` explains the difference of their scores. Blue counts against the first
# class: the other object.

first, second = (int(unit) for unit in classes[0])
why = ke.explain("gradcam", model, images[:1], score=ke.scores.margin(first, second), verbose=0)
ke.utils.visualize(images[:1], [f"{ke.demo.CLASSES[first]}, not {ke.demo.CLASSES[second]}"], overlays=why.maps)

# %%
# Gradients add up, so the map of the margin is the difference of the two maps.

both = ke.explain("gradcam", model, images[:1], [[first, second]], verbose=0).maps
np.testing.assert_allclose(why.maps[..., 0], both[..., 0] - both[..., 1], atol=1e-4)
