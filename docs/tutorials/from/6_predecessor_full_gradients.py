"""
From keras-explainable 0.0: Full Gradients
==========================================

The program of the FullGrad page in the documentation of keras-explainable 0.0, on Keras 3. FullGrad adds the
contribution of each bias to that of the image.
"""

import numpy as np

import keras_explainable as ke

SAMPLES = 4
images, labels, masks = ke.demo.load_scenes(SAMPLES, seed=2)
inputs = images.astype("float32")

# %%
# That page used a ResNet101V2 with ImageNet weights. This one uses the network that comes with the package. You need
# not set ``model.layers[-1].activation = "linear"``: the score is taken before a softmax.

model = ke.demo.load_model()
logits = model.predict(inputs, verbose=0)
indices = np.argsort(logits, axis=-1)[:, ::-1]
explaining_units = indices[:, :1]

# %%
# Version 0.0 was given the layers with biases, and a model that returns their signals. These lines still work.

head = ke.inspection.get_logits_layer(model)
inters, biases = ke.inspection.layers_with_biases(model, exclude=[head])
model_exposed = ke.inspection.expose(model, inters, head)
print(f"{len(biases)} biases")

_, maps = ke.explain(
    ke.methods.gradient.full_gradients,
    model_exposed,
    inputs,
    explaining_units,
    biases=biases,
    postprocessing=ke.filters.normalize,
    verbose=0,
)
ke.utils.visualize(sum(zip(images, maps, strict=True), ()), cols=4)

# %%
# Today's line finds layers and biases, pairs each bias with its gradient, and gives the same maps.

_, today = ke.full_gradients(model, images, "predicted", verbose=0)
np.testing.assert_allclose(today, maps, atol=1e-4)

# %%
# The method promises that all contributions add up to the score. The map does not, because it shows absolute values.

decomposition = ke.full_gradient_decomposition(model, images, "predicted")
print(decomposition)
assert decomposition.completeness.relative_gap.max() < 1e-5

# %%
# Version 0.0 normalised each channel by itself and took the mean: ``aggregation="mean"``. Its maps of several classes
# were summed; now each class has its own.

_, older = ke.full_gradients(model, images, "predicted", aggregation="mean", verbose=0)
ke.utils.visualize(images, overlays=older, cols=4)
