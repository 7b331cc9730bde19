"""The weights of a model layer by layer, and the model with some of them replaced."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from keras_explainable.models.adapters import unchanging
from keras_explainable.models.adapters import view as view_of
from keras_explainable.models.contract import Parameter
from keras_explainable.models.inputs import bound, unbind
from keras_explainable.models.view import View


def parameters(view: View) -> list[list[Parameter]]:
    """The weights of each layer that is not a normalisation, from the input to the output, in order of execution."""
    layers: dict[str, list[Parameter]] = {}
    for parameter in view.adapter.parameters():
        layers.setdefault(parameter.path, []).append(parameter)
    separator, calls = view.adapter.separator, [call.path for call in view.trace.calls]

    def place(path: str) -> int:
        """The number of the first call of a layer or inside it, or of the layer that it is a part of."""
        while path:
            found = (i for i, call in enumerate(calls) if call == path or call.startswith(path + separator))
            if (first := next(found, None)) is not None:
                return first
            path = path.rpartition(separator)[0]
        return 0

    return [layers[path] for path in sorted(layers, key=place)]


@contextmanager
def replacing(view: View) -> Iterator[tuple[View, Callable]]:
    """A scope with a view like the given one, and a function `put(pairs)`. After a call of `put`, the view computes
    with new values of some parameters (pairs of a `Parameter` and an array like its value), and with the model's own
    values of the others.

    A Keras model is not copied: the values are arguments of its compiled programs. A module is copied without its
    weights. Nothing is written to the model, and the scope leaves nothing behind."""
    plain, inputs = unbind(view.model)
    with unchanging(), view.adapter.replacing(plain) as (model, put_variables):

        def put(pairs: Iterable[tuple[Parameter, np.ndarray]]) -> None:
            put_variables([(parameter.variable, parameter.own(value)) for parameter, value in pairs])

        same: Any = model is plain
        yield view if same else view_of(bound(model, inputs), view.inputs, view.indices, view.score), put
