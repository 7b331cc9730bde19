"""
Which layer
===========

A class activation map shows one layer of the network. Early layers have a fine resolution but depend little on the
class. Late ones are coarse but depend on it more. Without ``layer=``, the last layer that still shows the image is
used.
"""

import keras_explainable as ke

model = ke.demo.load_model()
images, labels, masks = ke.demo.load_scenes(1, seed=5, objects=2)

# %%
# ``signals`` lists the layers. Its evidence says how well the positions in a layer's output correspond to positions in
# the image: 0.5 is chance, and 1 is perfect.

for signal in ke.inspection.signals(model, images):
    if signal.path.endswith(("output", "features", "pool")):
        print(f"{signal.path:15} {str(signal.reading or 'has no positions'):17} {signal.evidence or 0:.2f}")

# %%
# ``layer=`` takes a name, a path into a nested model (``"resnet50/conv4_block6_out"``), an index, or the layer itself.

layers = ["block1_output", "block2_output", "block3_output", "features"]
found = [ke.layercam(model, images, "predicted", layer=name, verbose=0) for name in layers]
ke.utils.visualize([images[0]] * 4, layers, overlays=[one.maps[0, ..., 0] for one in found], cols=4)

# %%
# With ``resizing=False`` a map has the size of its layer.

sizes = [
    ke.layercam(model, images, "predicted", layer=name, resizing=False, verbose=0).maps.shape[1:3] for name in layers
]
print(sizes)
assert sizes == [(48, 48), (24, 24), (12, 12), (12, 12)]

# %%
# ``.about`` says which layer was used where you named none.

result = ke.layercam(model, images, "predicted", verbose=0)
print(result.about["signal"])
assert result.about["signal"] == "features"
