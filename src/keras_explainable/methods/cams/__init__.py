"""Class activation maps: a weighted sum of the channels of a layer's output.

In the equations, A (B, *S', C) is the signal, that is, the output of a layer with spatial axes *S' and channels C;
g = d score / d A (B, K, *S', C) is the gradient; b, s, c and k are image, position, channel and unit. Maps are
(B, *S', K). Common parameters:

- `layer`: the layer whose output is explained: a name, path, index or layer. None selects the last layer whose output
  still shows the image (see `ke.inspection.signals`).

A method raises `LayerError` if the model has no such layer.
"""

from keras_explainable.methods.cams.ablationcam import ablationcam as ablationcam
from keras_explainable.methods.cams.cam import cam as cam
from keras_explainable.methods.cams.eigencam import eigencam as eigencam
from keras_explainable.methods.cams.eigencam import eigengradcam as eigengradcam
from keras_explainable.methods.cams.finercam import finercam as finercam
from keras_explainable.methods.cams.gradcam import gradcam as gradcam
from keras_explainable.methods.cams.gradcam import gradcampp as gradcampp
from keras_explainable.methods.cams.gradcam import hirescam as hirescam
from keras_explainable.methods.cams.gradcam import xgradcam as xgradcam
from keras_explainable.methods.cams.guided_gradcam import guided_gradcam as guided_gradcam
from keras_explainable.methods.cams.layercam import layercam as layercam
from keras_explainable.methods.cams.scorecam import scorecam as scorecam
from keras_explainable.methods.cams.smooth_gradcampp import smooth_gradcampp as smooth_gradcampp
from keras_explainable.methods.cams.weighting import weighted as weighted
