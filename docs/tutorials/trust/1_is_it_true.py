"""
Is this map true?
=================

A map can look right and yet say nothing about the model. Three questions help to find out, on one image.
"""

import numpy as np

import keras_explainable as ke

model = ke.demo.load_model()
images, labels, masks = ke.demo.load_scenes(1, seed=1)

# %%
# ``ke.trust`` asks eight questions about one map and answers each in a sentence. "supported" means that all checks that
# apply pass, "contradicted" that one of them contradicts the map. ``quick=True`` repeats less.

card = ke.trust(model, images, "predicted", "gradcam", quick=True)
print(card.lead)
for name, check in card.checks.items():
    print(f"{name:10} {check.said}")

# %%
# The first question by hand: is the map better than the same map elsewhere in the image? Remove pixels in the order of
# the map, and see how fast the score falls (``srg``, 0 for random orders).

raw = ke.explain("gradcam", model, images, "predicted", verbose=0).maps
moved = np.roll(raw, (48, 48), axis=(1, 2))
value, elsewhere = (ke.metrics.srg(model, images, "predicted", maps, verbose=0).values[0, 0] for maps in (raw, moved))
print(f"srg of the map {value:.2f}, of the moved map {elsewhere:.2f}")
ke.utils.visualize([images[0]] * 2, ["the map", "moved"], overlays=np.maximum([raw[0], moved[0]], 0), cols=2)

# %%
# The map is better than the moved one, and all eight checks agree.

assert card.verdict == "supported" and value > elsewhere + 0.3

# %%
# The second: does the map depend on the model? With random weights, the map must be different.

print(card.checks["model"].said)
assert abs(card.checks["model"].value) < 0.5

# %%
# The third: how much does the score really drop without the object? These scenes can be drawn again without it.

redrawn = ke.demo.load_counterfactuals(1, seed=1)
before = model.predict(images, verbose=0)[0]
without = model.predict(redrawn.redrawn, verbose=0)
for i, unit in enumerate(redrawn.units):
    print(f"{ke.demo.CLASSES[unit]:18} loses {before[unit] - without[i, unit]:.1f} without its object")
    assert before[unit] > without[i, unit]
