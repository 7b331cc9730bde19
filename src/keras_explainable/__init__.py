"""Explain what an image model looked at: `scores, maps = ke.gradcam(model, x, y)`.

`__init__.pyi` lists the public names. Each is imported when it is first used, and Keras with it."""

from keras_explainable.runtime import ctrl_c as ctrl_c  # first: Ctrl-C may come at once  # isort: skip
from keras_explainable.public_names import __dir__ as __dir__
from keras_explainable.public_names import __getattr__ as __getattr__
from keras_explainable.runtime import selection as _selection

__version__ = "0.1.0"

if not ctrl_c.is_command():  # a command chooses later, by its --backend
    _selection.choose()  # before the user imports Keras
