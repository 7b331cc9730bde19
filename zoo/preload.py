"""The imports of all PyTorch models, done once and inherited by each process."""

import importlib

from zoo.sources import torchvision_models

torchvision_models.load()
for name in ("timm", "transformers.modeling_utils", "keras_explainable", "zoo.checks", "zoo.modules", "zoo.weights"):
    importlib.import_module(name)
