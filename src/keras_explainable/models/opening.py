"""The public form of a method. A method takes a view; its public form takes a model and images and opens the view."""

import inspect
import weakref
from collections.abc import Callable
from typing import Any

from keras_explainable.models.adapters import view
from keras_explainable.models.view import View

# For each public method, the form that takes a view. This is not an attribute: `functools.wraps` would copy it to a
# user's wrapper, and the wrapper would then be skipped.
_on_view: weakref.WeakKeyDictionary[Callable, Callable] = weakref.WeakKeyDictionary()

PUBLIC = ("model", "inputs", "indices", "score")


def opens_view(method: Callable) -> Callable:
    """The public form `(model, inputs, indices=None, score=None, ...)` of a method `(view, ...)`.

    It has the method's name, docstring and module. It has no `__wrapped__`, since its signature is different.
    """

    def public(model: Any, inputs: Any, indices: Any = None, score: Any = None, *args: Any, **params: Any) -> Any:
        return method(view(model, inputs, indices, score), *args, **params)

    own = inspect.signature(method)
    _, *hyper = own.parameters.values()
    taken = [p for p in inspect.signature(public).parameters.values() if p.name in PUBLIC]
    public.__signature__ = own.replace(parameters=[*taken, *hyper])  # type: ignore[attr-defined]
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(public, name, getattr(method, name))
    public.__annotations__ = dict.fromkeys(PUBLIC, Any) | {
        name: kind for name, kind in method.__annotations__.items() if name != next(iter(own.parameters))
    }
    _on_view[public] = method
    return public


def on_view(method: Callable, seen: View, **params: Any) -> Any:
    """Call a method for the images, units and score of a view.

    A method made by `opens_view` gets the view. Any other one gets the model, images, units and, if given, the score.
    """
    known = form_on_view(method)
    if known is not None:
        return known(seen, **params)
    score = {} if seen.user_score is None else {"score": seen.user_score}
    return method(seen.model, seen.inputs, seen.indices, **score, **params)


def form_on_view(method: Callable) -> Callable | None:
    """The form of a method that takes a view, or None if there is none."""
    try:
        return _on_view.get(method)
    except TypeError:  # an object that cannot be hashed or weakly referenced
        return None
