"""A small trained network, and scenes that it knows: a model and images to explain, without any download."""

from keras_explainable.demo.network import load_mask_robust, load_model, load_module, load_transformer
from keras_explainable.demo.scenes import load_counterfactuals, load_scenes
from keras_explainable.demo.shapes import CLASSES

__all__ = [
    "CLASSES",
    "load_counterfactuals",
    "load_mask_robust",
    "load_model",
    "load_module",
    "load_scenes",
    "load_transformer",
]
