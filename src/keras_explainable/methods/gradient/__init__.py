"""Methods that use the gradient of the score with respect to the image.

In the equations, x (B, *S, C) is the image and x0 the baseline; b, s, c and k are image, pixel, channel and unit. Maps
are (B, *S, K). Common parameters:

- `reduce`: how channels become one map. For gradients: "mean", "max" or "sum" of the absolute values; None keeps signs
  and channels. For attributions, which are parts of a score: "sum" of the signed values, or of their "absolute" values;
  None keeps channels. With None, maps are (B, K, *S, C).
- `repetitions`: n, the number of gradients that are computed: points on the path, or noisy copies. Time grows with n,
  memory does not.
- `baseline`: where a path begins, in the range of the images: a number, a colour (C,), images, "mean" for each
  image's own mean colour, or its "blur" or "noise" (see `ke.methods.perturbation`).
- `quadrature`: the rule for the integral along the path. The error of "gauss_legendre" falls quickly with n if the
  gradients change smoothly; "midpoint" takes evenly spaced points.
- `noise`, `noise_kind`: the standard deviation of normal noise added to the image, in the units of the image if
  `noise_kind` is "absolute", or as a fraction of each image's max - min if it is "range".
- `seed`: an integer that selects the random numbers; None is 0.

The attributions of path methods add up to score(x) - score(x0), except for the error of the numerical integral. For
`integrated_gradients` this error is reported in `.about["gap"]` and by `integrated_gradients_gap`.
"""

from keras_explainable.methods.fullgrad.full_gradients import full_gradients as full_gradients
from keras_explainable.methods.fullgrad.full_gradients import simple_full_gradients as simple_full_gradients
from keras_explainable.methods.gradient.blur_ig import blur_ig as blur_ig
from keras_explainable.methods.gradient.expected_gradients import expected_gradients as expected_gradients
from keras_explainable.methods.gradient.expected_gradients import gradient_shap as gradient_shap
from keras_explainable.methods.gradient.gradients import gradients as gradients
from keras_explainable.methods.gradient.gradients import input_x_gradient as input_x_gradient
from keras_explainable.methods.gradient.guided_backprop import deconvnet as deconvnet
from keras_explainable.methods.gradient.guided_backprop import guided_backprop as guided_backprop
from keras_explainable.methods.gradient.guided_ig import guided_ig as guided_ig
from keras_explainable.methods.gradient.integrated_gradients import integrated_gradients as integrated_gradients
from keras_explainable.methods.gradient.integrated_gradients import integrated_gradients_gap as integrated_gradients_gap
from keras_explainable.methods.gradient.smoothgrad import smoothgrad as smoothgrad
from keras_explainable.methods.gradient.smoothgrad import squaregrad as squaregrad
from keras_explainable.methods.gradient.smoothgrad import vargrad as vargrad
from keras_explainable.methods.gradient.xrai import xrai as xrai
