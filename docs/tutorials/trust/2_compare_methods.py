"""
Which method should I use?
==========================

Compare methods on your model, with baselines that know nothing of it, and with intervals that show the effect of
chance.
"""

import keras_explainable as ke

model = ke.demo.load_model()
images, labels, masks = ke.demo.load_scenes(12, seed=4)
unit = labels.argmax(1)

# %%
# ``mass_accuracy`` is the share of a map that lies on the object, which the masks of the scenes mark. It says how
# plausible a map is. Metrics of faithfulness, such as ``srg``, need no mask, but take longer. A method in brackets does
# not beat the baselines.

result = ke.evaluate(
    model,
    images,
    unit,
    methods=["gradcam", "gradients", "input_x_gradient"],
    metrics=["mass_accuracy"],
    masks=masks[range(12), unit],
    verbose=0,
)
print(result)

# %%
# Two methods, compared on the same images: better, worse, equal, or "cannot tell".

comparison = result.compare("gradcam", "input_x_gradient", "mass_accuracy")
print(comparison)
assert "better" in str(comparison)

# %%
# ``result.plot()`` draws the intervals, and ``result.to_html("report.html", images)`` writes all of it in one file.

result.plot()
