"""A small trained network and the scenes it knows: something to explain without downloading anything."""

from keras_explainable.demo.network import load_model, load_module, load_transformer
from keras_explainable.demo.scenes import load_scenes
from keras_explainable.demo.shapes import CLASSES

__all__ = ["CLASSES", "load_model", "load_module", "load_scenes", "load_transformer"]
