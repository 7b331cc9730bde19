"""Explaining methods: pure functions `(model, inputs, indices=None, score=None, **parameters) -> (scores, maps)`.

A method of the registry takes these four parameters first, and then its own. The contract is the same for all of them.
In shapes, B is the number of images, *S their spatial axes, C channels, K the explained units, and *S' the spatial axes
of the maps.

- `model`: a Keras model; a `torch.nn.Module`; or, for a method that needs only a black box, any function from images to
  scores (see `ke.BlackBox`). A Keras model may also come from `ke.inspection.expose`, or have outputs
  `[scores, signal]`.
- `inputs`: images (B, *S, C). Integers are cast to float32.
- `indices`: the units to explain: an int, (B,) or (B, K) integers, or None for every unit.
- `score`: a function from the model's outputs to scores (B, K), such as those of `ke.scores`. None explains the model's
  units. A model with several outputs is explained at the first; `score=ke.scores.output(name)` selects another.
- Returns scores (B, K) and maps (B, *S', K). Scores are taken before the last softmax or sigmoid, unless you named the
  output yourself. Each unit has a map of its own, at the resolution of the explained signal.
- Methods that evaluate only noisy copies (`smoothgrad`, `vargrad`, `squaregrad`, `smooth_full_gradients`,
  `meta.smooth`) return the mean score of the copies. If it is far from the model's own score, the noise is too large
  for this score.
- Raises `InputError` if images, units or parameters do not fit, and `LayerError` if the model lacks what is needed.

Parameters that a family shares are described by its package: `ke.methods.cams` (`layer`), `ke.methods.gradient`
(`repetitions`, `baseline`, `noise`, `quadrature`, `reduce`), and `ke.methods.perturbation` (`baseline`, `segments`,
`at_once`). `seed`, an integer, selects the random numbers; None is 0.

A model may have several inputs of which one is the images. `ke.explain(method, model, x, y, leaf="image")`, like every
shortcut, then takes as `x` a tuple, list or dictionary of arrays (possibly nested) with a row for each image, or a
source of batches of them. `leaf` is the name or index of the images in it, or a tuple of these. The other inputs are
passed to the model unchanged; integers stay integers. A method does not see them: its `model` takes images only, with
the other inputs bound to it. When several copies of a batch run together, they are stacked one batch after another.
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
