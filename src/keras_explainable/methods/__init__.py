"""Explaining methods: pure functions `(model, inputs, indices=None, **parameters) -> (scores, maps)`.

The contract, for all of them:

- `model`: a Keras model, also one made by `ke.inspection.expose` or with outputs `[scores, signal]` of your own; a
  `torch.nn.Module`; or, where a method needs a black box, any function from images to scores (see `ke.BlackBox`).
- `inputs`: images (B, *S, C); integers are cast to float32.
- `indices`: the units to explain: an int, (B,) or (B, K) integers, or None for every unit.
- `layer`: the layer whose output is explained (a name, path, index or layer), in place of the last one that is seen to
  show the image (see `ke.inspection.signals`).
- `score`: in place of the model's units, a function from its outputs to (B, K) scores, such as those of `ke.scores`. Of
  a model with several outputs the units are those of the first, and `score=ke.scores.output(name)` takes another.
- Models of several inputs, one of which is the images: `ke.explain(method, model, x, y, leaf="image")`, as every
  shortcut, takes as `x` a tuple, list or dictionary of arrays (also one in another) with a row for each image, or a
  source of batches of them; `leaf` is the name or index of the images in it, or a tuple of these. The others are fed to
  the model as they are, integers as integers. A method knows nothing of it: its `model` has them bound to it and takes
  images alone; copies of a batch that are run at once stand one batch after another.
- Returns scores (B, K), taken before the last softmax or sigmoid unless you named the output yourself, and maps
  (B, *S', K), one for each unit and never summed, at the resolution of the explained signal.
- Of methods that see noisy copies alone (`smoothgrad`, `vargrad`, `squaregrad`, `smooth_full_gradients`, `meta.smooth`)
  scores are the copies' mean. Far from the model's own score, it says that this does not withstand the noise.
- Raises `InputError` where images, units or parameters do not fit, `LayerError` where the model lacks what is needed.
"""

from keras_explainable.methods import attention as attention
from keras_explainable.methods import cams as cams
from keras_explainable.methods import fullgrad as fullgrad
from keras_explainable.methods import gradient as gradient
from keras_explainable.methods import meta as meta
from keras_explainable.methods import perturbation as perturbation
from keras_explainable.methods import propagation as propagation
from keras_explainable.methods.explainer import explainer as explainer
from keras_explainable.registry import listed

list = listed  # `ke.methods.list()`
