"""How tests call the library: quietly, with few repetitions, on the kind of model that a method needs."""

import functools
import importlib
import inspect

import numpy as np

import keras_explainable as ke

UNITS = np.array([[1, 4], [0, 0], [3, 2]])

gradcam = functools.partial(ke.gradcam, verbose=0, placement="stretch")
raw = functools.partial(ke.explain, verbose=0, resizing=False, placement="stretch")  # as the twins do


def explain(method, model, x, y=UNITS, **params):
    """Scores and maps of a method, made with few repetitions."""
    return ke.explain(method, model, x, y, verbose=0, **{**few(method), **params})


def few(method):
    """Parameters with which a method that repeats is quick, and one that divides by what may be nothing is stable."""
    if method == "lrp_epsilon":
        return {"epsilon": 0.01}
    function = ke.registry.METHODS[method].function
    return {"repetitions": 3} if "repetitions" in inspect.signature(function).parameters else {}


def subject(method):
    """The kind of model of `keras_models` that a method is tried on where one is enough."""
    return "transformer" if ke.registry.Need.ATTENTION in ke.registry.METHODS[method].needs else "functional"


def module(name):
    """A module of the library, also where its package shows a function of the same name."""
    return importlib.import_module(f"keras_explainable.{name}")
