"""The slow NumPy twins of the methods: the twin of a method is the function of its name, in any module of `reference`."""

import importlib
from pathlib import Path

import keras_explainable as ke
import reference

_MODULES = [
    importlib.import_module(f"reference.{path.stem}")
    for path in sorted(Path(reference.__path__[0]).glob("*.py"))
    if not path.stem.startswith("test_")
]
TWINS = {name: vars(module)[name] for module in _MODULES for name in ke.registry.METHODS if name in vars(module)}
