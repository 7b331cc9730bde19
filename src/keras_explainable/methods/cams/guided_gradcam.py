"""Fine outlines within the places that a class activation map finds."""

from typing import Any

from keras import ops

from keras_explainable import filters, models
from keras_explainable.methods.cams.gradcam import gradcam
from keras_explainable.methods.gradient.guided_backprop import counted, guided_backprop
from keras_explainable.registry import explainer


@explainer(
    "cam",
    "hidden signal, gradient, ReLUs",
    "2 forward + K backward",
    "arXiv:1610.02391",
    postprocessing=filters.normalize,
)
def guided_gradcam(model: Any, inputs: Any, indices: Any = None, layer: Any = None, score: Any = None) -> tuple:
    """Sharp outlines, only where Grad-CAM looks: its map times that of guided backpropagation.

    maps = guided_backprop relu(gradcam), the second resized to the images, the first its mean over channels of absolute
    values (the paper keeps signs and channels). `.about["relus"]` says how many ReLUs were replaced, by call.

    Raises:
        LayerError: as of `gradcam` and `guided_backprop`.

    Reference: Selvaraju et al., Grad-CAM, arXiv:1610.02391.
    """
    scores, coarse = gradcam(model, inputs, indices, layer, score)
    _, fine = guided_backprop(model, inputs, indices, score)
    places = models.windows(model, inputs, {"layer": layer, "score": score})
    return scores, fine * models.resized(model, inputs, ops.relu(models.of_images(coarse, scores)), windows=places)


guided_gradcam.about = counted
guided_gradcam.at_images = True
