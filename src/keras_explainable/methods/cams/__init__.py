"""Class activation maps: a weighted sum of a signal's channels."""

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
from keras_explainable.methods.cams.masking import ablationcam as ablationcam
from keras_explainable.methods.cams.masking import scorecam as scorecam
from keras_explainable.methods.cams.smooth_gradcampp import smooth_gradcampp as smooth_gradcampp
from keras_explainable.methods.cams.weighting import weighted as weighted
