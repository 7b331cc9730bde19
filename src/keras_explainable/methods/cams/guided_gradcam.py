"""Fine outlines within the places that a class activation map finds."""

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
)
def guided_gradcam(view: View, layer: Any = None) -> tuple:
    """Sharp outlines, only where Grad-CAM looks: its map times that of guided backpropagation.

    maps = guided_backprop relu(gradcam), the second resized to the images, the first its mean over channels of absolute
    values (the paper keeps signs and channels). `.about["relus"]` says how many ReLUs were replaced, by call.

    Raises:
        LayerError: as of `gradcam` and `guided_backprop`.

    Reference: Selvaraju et al., Grad-CAM, arXiv:1610.02391.
    """
    scores, coarse = models.on_view(gradcam, view, layer=layer)
    _, fine = models.on_view(guided_backprop, view)
    coarse = ops.relu(models.of_images(coarse, scores))
    return scores, fine * view.laid(coarse, windows=view.windows_of(layer))


guided_gradcam.about = counted
guided_gradcam.at_images = True
