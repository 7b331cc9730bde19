"""Methods that cover parts of the image and measure the change of the score.

They need only the scores of a model. They evaluate copies x o m + baseline o (1 - m) of each image, where o is the
elementwise product and the mask m is 1 where the image is visible. Maps are (B, *S, K). Common parameters:

- `baseline`: what replaces the image where it is covered: "mean" for each image's own mean colour, which fits any range
  of values; "blur" for a Gaussian blur with a sigma of a 22nd of the shortest side; "noise", uniform over each image's
  range; "linear" for the weighted mean of each covered pixel's neighbours, which continues colours and adds no edges;
  in the range of the images, a number, a colour (C,), or images; or a function of (images, masks) that returns what the
  model sees. The function gets tensors (M, *S, C) and (M, *S), channels last, and may be compiled: write it with
  `keras.ops`, or also give `run_eagerly=True`. Its masks are 1 where pixels are covered, and between 0 and 1 where
  `rise` and `sobol` cover them partly. "linear" treats pixels as covered if their mask is at least one half. It adds
  about 0.1 s for each copy of 224 x 224 pixels on one core, more than MobileNetV2 itself takes.
- `segments`: the parts that are covered together: the number of cells of a grid, for all axes or for each; "slic" for
  superpixels, which need scikit-image; labels (*S) or (B, *S) of pixels; or a function from images (B, *S, C) to such
  labels.
- `repetitions`: the number of masks.
- `at_once`: the number of perturbed images that are evaluated together, but at least one copy of each image of the
  batch. None is 32, or fewer for large images on PyTorch's CPU, where that is faster. Maps do not depend on it.
- `seed`: an integer that selects the random masks; None is 0.
"""

from keras_explainable.methods.perturbation.hsic import hsic as hsic
from keras_explainable.methods.perturbation.kernel_shap import kernel_shap as kernel_shap
from keras_explainable.methods.perturbation.lime import lime as lime
from keras_explainable.methods.perturbation.occlusion import occlusion as occlusion
from keras_explainable.methods.perturbation.rise import rise as rise
from keras_explainable.methods.perturbation.sobol import sobol as sobol
