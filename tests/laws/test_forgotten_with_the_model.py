"""What is kept of a model, compiled or not, lives no longer than the model."""

import dataclasses
import gc
import importlib
import pkgutil
import weakref

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable.runtime.compile_cache import Program
from support import keras_models
from support.calls import few, subject
from support.keras_models import SHAPE
from support.selection import BACKEND, COMPILED, slow, very_slow_compiled

pytestmark = slow


def tiny():
    stack = [keras.Input(SHAPE), L.Conv2D(2, 3), L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(2)]
    return keras_models.randomize(keras.Sequential(stack))


def tiny_module():
    from torch import nn

    stack = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    return stack.eval()


def transformer():
    return keras_models.build("transformer")


def halves(image):
    return (np.arange(image.shape[0]) % 2)[:, None] + np.zeros(image.shape[:-1], int)


def segments(method):
    """Few segments, for a method that takes them: their number along each axis, or a function that finds them."""
    record = ke.registry.METHODS[method]
    takes = ke.registry.takes(record.function, "segments")
    return {"segments": 2 if ke.registry.Need.BLACK_BOX in record.needs else halves} if takes else {}


MODULES = [tiny_module] if BACKEND == "torch" else []
CASES = [
    pytest.param(name, build, marks=slow if name in COMPILED else very_slow_compiled)
    for name in ke.registry.METHODS
    for build in ([transformer] if subject(name) == "transformer" else [tiny, *MODULES])
]


@pytest.mark.usefixtures("only_what_is_new")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("method", "build"), CASES)
def test_no_method_keeps_the_models_alive_that_it_explained(method, build):
    x = keras_models.images("functional" if build is not transformer else "transformer", 1)
    x, explained = np.moveaxis(x, -1, 1) if build is tiny_module else x, []
    for _ in range(2):
        model = build()
        explained.append(weakref.ref(model))
        scores, _ = ke.explain(method, model, x, 1, verbose=0, **few(method), **segments(method))
        assert scores.shape == (1, 1)
        del model
    while gc.collect():  # graphs of PyTorch go first, and what they held after them
        pass
    assert [reference() for reference in explained] == [None, None]


ROOMS = ("evaluation", "explaining", "masking", "methods", "metrics", "runtime", "shortcuts")


def programs():
    """Every class of what is compiled, of all modules of the library."""
    for found in pkgutil.walk_packages(ke.__path__, "keras_explainable."):
        if found.name.partition(".")[2].startswith(ROOMS):
            importlib.import_module(found.name)
    kinds = [Program]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return [kind for kind in kinds[1:] if kind.__module__.startswith("keras_explainable.")]


def test_what_is_compiled_depends_on_its_fields_alone():
    found = programs()
    assert len(found) > 10
    for kind in found:
        assert dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen, kind
        assert "<locals>" not in kind.__qualname__ and not kind.__call__.__closure__, kind
        held = [field.type for field in dataclasses.fields(kind) if "View" in str(field.type) or field.name == "model"]
        assert not held, kind
