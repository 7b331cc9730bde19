"""The models of keras.applications."""

from dataclasses import replace
from types import ModuleType

import keras
import numpy as np

from keras_explainable.errors import ModelFileError
from keras_explainable.loading.preprocessing import Loaded, with_preprocessing
from keras_explainable.loading.texts import first_line


def applications() -> dict[str, ModuleType]:
    """The names of the models in `keras.applications`, each with the module that has its `preprocess_input`."""
    modules = {k: m for k, m in vars(keras.applications).items() if hasattr(m, "preprocess_input")}
    names = [name for name in vars(keras.applications) if name[0].isupper()]

    def module(name: str) -> ModuleType:
        own = [m for m in modules.values() if hasattr(m, name)]
        prefixes = [k for k in modules if name.lower().startswith(k.replace("_", ""))]  # MobileNetV3's module has none
        return own[0] if own else modules[max(prefixes, key=len)]

    return {name: module(name) for name in names}


def application(name: str, weights: str | None) -> Loaded:
    """Load a model of keras.applications, with the preprocessing of its images."""
    module = applications()[name]
    try:
        model = getattr(keras.applications, name)(weights=weights, classifier_activation=None)
    except Exception as error:
        if "fetch failure" not in str(error):
            raise
        raise ModelFileError(
            f"The ImageNet weights of {name} could not be downloaded ({first_line(error)}). Connect to the internet, "
            "give the path of a .keras or .h5 file, or use random weights (--weights none), whose maps have no meaning."
        ) from None

    def preprocess(x: np.ndarray) -> np.ndarray:
        return module.preprocess_input(x, data_format="channels_last")

    loaded = with_preprocessing(
        model, preprocess, name, class_names=_imagenet_names() if weights == "imagenet" else None
    )
    fit = "crop" if weights else "stretch"  # the accuracies published with the weights were measured on central crops
    return loaded._replace(preprocess=replace(loaded.preprocess, fit=fit, softmax=weights is not None))


def _imagenet_names() -> list[str] | None:
    """The names of the 1,000 ImageNet classes. None if they cannot be downloaded: maps can be computed without them."""
    try:
        best = keras.applications.imagenet_utils.decode_predictions(np.eye(1000), top=1)
        return [str(ranked[0][1]) for ranked in best]
    except Exception:
        return None
