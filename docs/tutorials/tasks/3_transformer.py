"""
A vision transformer
====================

Transformers compute with tokens instead of pixels. Class activation maps find the grid of the tokens automatically.
Attention methods use the attention probabilities, and AttnLRP propagates relevance through the attention.
"""

import numpy as np

import keras_explainable as ke

model = ke.demo.load_transformer()
images, labels, masks = ke.demo.load_scenes(12, seed=7)

# %%
# One call runs several methods. Passes of the model that they share are run once.

names = ["attention_rollout", "attention_relevance", "gradcam", "attnlrp"]
found = ke.explain(names, model, images, "predicted", postprocessing="usual", verbose=0)
shown = [found[name].maps[i, ..., 0] for i in range(2) for name in names]
ke.utils.visualize([images[i] for i in range(2) for _ in names], names * 2, overlays=shown, cols=4)

# %%
# The layer that the class activation map shows, and how its tokens were read:

print(found["gradcam"].about["signal"], "|", found["gradcam"].about["reading"])
assert found["gradcam"].about["reading"] == "12 x 12 tokens"

# %%
# Attention rollout has the same map for every class. It shows where information flows, not the evidence for a class.

rollout = ke.explain("attention_rollout", model, images[:1], [[0, 5]], verbose=0).maps
np.testing.assert_allclose(rollout[..., 0], rollout[..., 1], atol=1e-6)

# %%
# How often is the largest value on the predicted object?

predicted = model.predict(images, verbose=0).argmax(1)
share = {
    name: np.mean([masks[i, predicted[i]].flat[found[name].maps[i].argmax()] for i in range(len(images))])
    for name in names
}
print({name: f"{value:.0%}" for name, value in share.items()})
assert min(share["attention_relevance"], share["attnlrp"]) > masks[range(12), predicted].mean() * 3  # chance, times 3
