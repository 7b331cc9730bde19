"""A small trained network and the scenes it knows: something to explain without downloading anything."""

from .network import load_model, load_module, load_transformer
from .scenes import load_scenes
from .shapes import CLASSES

__all__ = ["CLASSES", "load_model", "load_module", "load_scenes", "load_transformer"]
