"""The public names of the package. Type checkers read this file, and so does `public_names.py` when a name is used."""

from typing import Any

from keras_explainable import backend as backend
from keras_explainable import demo as demo
from keras_explainable import distributed as distributed
from keras_explainable import errors as errors
from keras_explainable import filters as filters
from keras_explainable import inspection as inspection
from keras_explainable import loading as loading
from keras_explainable import methods as methods
from keras_explainable import metrics as metrics
from keras_explainable import progress as progress
from keras_explainable import registry as registry
from keras_explainable import scores as scores
from keras_explainable import utils as utils
from keras_explainable import viz as viz
from keras_explainable.evaluation import evaluate as evaluate
from keras_explainable.evaluation import trust as trust
from keras_explainable.explaining.explain import explain as explain
from keras_explainable.explaining.explain import partial_explain as partial_explain
from keras_explainable.explaining.results import Explanation as Explanation
from keras_explainable.loading import load as load
from keras_explainable.method_shortcuts import *
from keras_explainable.models import BlackBox as BlackBox
from keras_explainable.registry import get as get
from keras_explainable.runtime import ctrl_c as ctrl_c
from keras_explainable.runtime.compile_cache import cache_info as cache_info
from keras_explainable.runtime.compile_cache import clear_cache as clear_cache
from keras_explainable.shortcuts import full_gradient_decomposition as full_gradient_decomposition
from keras_explainable.shortcuts import integrated_gradients_gap as integrated_gradients_gap
from keras_explainable.viz.notebook import show as show

__version__: str

def __getattr__(name: str) -> Any: ...  # methods that users register
def __dir__() -> list[str]: ...
