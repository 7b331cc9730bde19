"""Metrics of maps: `measured = ke.metrics.srg(model, x, y, maps)`.

Each metric takes these parameters first, and then its own. In shapes, N is the number of images, *S their spatial axes
and size, and K the explained units.

- `model`, `x`, `y`: as in `ke.explain`, with the same sources of images. A metric that needs no model takes maps alone,
  as in `ke.metrics.gini(maps=maps)`.
- `maps`: (N, *S, K), raw maps of the size of the images, by any method of any library.
- `masks`: where the object is, (N, *S) or (N, *S, K), for metrics of localisation.
- `others`: where all other objects are, of the same shapes, for `class_selectivity`.
- `explain`: the method that made the maps, for metrics that explain changed images or a changed model: a method, its
  name, or one of these and its parameters, as in `("smoothgrad", {"repetitions": 5})`. `maps` may then be left out. If
  they are given, they must be those of this method. A function must run the model that it is given.
- `objects`: the pair (masks (N, O, *S) of each image's objects, images (N, O, ...) redrawn without each), for
  `single_deletion`. An empty mask stands for no object.
- `score`, `batch_size`, `verbose`, `steps`, `callbacks`, `run_eagerly`, `jit_compile`, `precision`, `leaf`, `shared`,
  `channels`: as in `ke.explain`. With `score=`, the metric uses the columns of the score as they are.
- `seed`: the seed of all random draws: the order of equal values, subsets, noise. None is 0.
- `at_once`: how many changed copies of images are evaluated together. Values do not depend on it.
- Returns a `Measured`: `values` (N, K), one for each image and unit and never an average; NaN where the metric is not
  defined, counted by `about["undefined"]`; and the `curves` that they were computed from, if there are any.
- Raises `InputError` before any computation if maps, masks, images, units or parameters do not fit together.

`fill` replaces removed pixels. It is "mean" (the mean colour of each image), "blur" (a Gaussian blur with a
sigma of a 22nd of the shortest side), "noise" (uniform over the range of each image), "linear" (the weighted mean of
the neighbours of each removed pixel), a number, a colour, images, or a function of (images, masks), with masks (M, *S)
that are 1 where pixels are removed. These are also the values of `baseline` in `ke.methods.perturbation`.

`quantity` is what the metric reads from the model: a unit's "probability" (of all units' softmax, or of the sigmoid
that the model ends with), its "logit" (the score before that), its "margin" (its logit minus the largest other one) or
its "accuracy" (1 if its logit is the largest, else 0).
"""

from keras_explainable.metrics.axioms import completeness as completeness
from keras_explainable.metrics.case import Case as Case
from keras_explainable.metrics.complexity import edge_likeness as edge_likeness
from keras_explainable.metrics.complexity import effective_complexity as effective_complexity
from keras_explainable.metrics.complexity import entropy as entropy
from keras_explainable.metrics.complexity import gini as gini
from keras_explainable.metrics.confidence import average_drop as average_drop
from keras_explainable.metrics.confidence import average_gain as average_gain
from keras_explainable.metrics.confidence import average_increase as average_increase
from keras_explainable.metrics.counterfactual import single_deletion as single_deletion
from keras_explainable.metrics.curves import deletion as deletion
from keras_explainable.metrics.curves import insertion as insertion
from keras_explainable.metrics.curves import irof as irof
from keras_explainable.metrics.curves import road as road
from keras_explainable.metrics.curves import srg as srg
from keras_explainable.metrics.information import pic as pic
from keras_explainable.metrics.localisation import average_precision as average_precision
from keras_explainable.metrics.localisation import class_selectivity as class_selectivity
from keras_explainable.metrics.localisation import focus as focus
from keras_explainable.metrics.localisation import iou as iou
from keras_explainable.metrics.localisation import mass_accuracy as mass_accuracy
from keras_explainable.metrics.localisation import pointing_game as pointing_game
from keras_explainable.metrics.localisation import rank_accuracy as rank_accuracy
from keras_explainable.metrics.localisation import roc_auc as roc_auc
from keras_explainable.metrics.measuring import Measured as Measured
from keras_explainable.metrics.metric import metric as metric
from keras_explainable.metrics.mosaic import mosaics as mosaics
from keras_explainable.metrics.pooled import best_threshold as best_threshold
from keras_explainable.metrics.pooled import left_out_iou as left_out_iou
from keras_explainable.metrics.pooled import max_box_accuracy as max_box_accuracy
from keras_explainable.metrics.pooled import pixel_ap as pixel_ap
from keras_explainable.metrics.randomisation import emprt as emprt
from keras_explainable.metrics.randomisation import mprt as mprt
from keras_explainable.metrics.randomisation import random_logit as random_logit
from keras_explainable.metrics.randomisation import smprt as smprt
from keras_explainable.metrics.record import METRICS as METRICS
from keras_explainable.metrics.record import MetricNeed as MetricNeed
from keras_explainable.metrics.record import MetricRecord as MetricRecord
from keras_explainable.metrics.record import listed
from keras_explainable.metrics.robustness import avg_sensitivity as avg_sensitivity
from keras_explainable.metrics.robustness import local_lipschitz as local_lipschitz
from keras_explainable.metrics.robustness import max_sensitivity as max_sensitivity
from keras_explainable.metrics.robustness import relative_stability as relative_stability
from keras_explainable.metrics.robustness import seed_stability as seed_stability
from keras_explainable.metrics.subsets import faithfulness_correlation as faithfulness_correlation
from keras_explainable.metrics.subsets import infidelity as infidelity
from keras_explainable.metrics.subsets import mu_fidelity as mu_fidelity
from keras_explainable.metrics.subsets import non_sensitivity as non_sensitivity
from keras_explainable.metrics.subsets import sensitivity_n as sensitivity_n

from keras_explainable.evaluation.check import check as check  # last: it evaluates by these  # isort: skip

list = listed  # `ke.metrics.list()`
