"""Guided Grad-CAM: guided backpropagation times Grad-CAM."""

from typing import Any

from keras import ops

from keras_explainable import filters, models
from keras_explainable.methods.cams.gradcam import gradcam
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.guided_backprop import counted, guided_backprop
from keras_explainable.models import View


@explainer(
    "cam",
    "hidden signal, gradient, ReLUs",
    "2 forward + K backward",
    "arXiv:1610.02391",
    postprocessing=filters.normalize,
    about=counted,
    at_images=True,
)
def guided_gradcam(view: View, layer: Any = None) -> tuple:
    """Guided backpropagation times Grad-CAM: sharp outlines where Grad-CAM is positive.

    maps = guided_backprop relu(resize(gradcam))

    Guided backpropagation is the mean over channels of absolute values (the paper keeps signs and channels), and
    Grad-CAM is resized to the images. `.about["relus"]` of the result is the number of ReLU calls that were changed.

    Args:
        layer: of Grad-CAM, see `ke.methods.cams`.

    Raises:
        LayerError: as for `gradcam` and `guided_backprop`.

    Reference: Selvaraju et al., Grad-CAM, arXiv:1610.02391.
    """
    scores, coarse = models.on_view(gradcam, view, layer=layer)
    _, fine = models.on_view(guided_backprop, view)
    coarse = ops.relu(models.of_images(coarse, scores))
    return scores, fine * view.to_image_size(coarse, windows=view.windows_of(layer))
