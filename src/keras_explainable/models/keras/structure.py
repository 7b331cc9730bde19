"""The structure of a Keras model: its layers by path, and the settings that a run depends on."""

from typing import Any

import keras

from keras_explainable.models import state
from keras_explainable.models.keras import routing, unfolding


def children(layer: Any) -> list:
    """The layers and operations that are directly inside a layer."""
    if hasattr(layer, "operations"):  # a functional graph, which may hold operations besides layers
        return [o for o in layer.operations if not isinstance(o, keras.layers.InputLayer)]
    if isinstance(layer, keras.layers.RNN):
        return []  # its cells run inside a loop of the backend, where nothing can be seen
    if isinstance(layer, keras.Layer):
        # No public name lists the direct children of a layer that is not a model.
        return [
            c
            for c in layer._flatten_layers(include_self=False, recursive=False)
            if not isinstance(c, keras.layers.InputLayer)
        ]
    return []


class Structure:
    """The layers of a model and their settings. Both are kept until `reset`."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.found: dict[str, Any] | None = None
        self.made_of: tuple | None = None

    def paths(self) -> dict[str, Any]:
        """Every layer by its path, including containers."""
        if self.found is None:
            self.found = self._paths()
        return self.found

    def _paths(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        seen = {id(self.model)}

        def walk(parent, prefix):
            for child in children(parent):
                if id(child) in seen:
                    continue
                seen.add(id(child))
                path = prefix + child.name
                while path in found:
                    path += "_"
                found[path] = child
                walk(child, path + "/")

        walk(self.model, "")
        return found

    def settings(self) -> state.State:
        """The current settings of the model's layers."""
        found: state.State = {}
        classes = set()
        for path, layer in (("", self.model), *self.paths().items()):
            mode, function = getattr(layer, "quantization_mode", None), routing.activation(layer)
            found[path,] = state.same_object(layer), routing.activation_name(layer), mode, state.token(function)
            if unfolding.is_own(layer):
                own = routing.attributes(layer).items()
                found.update(state.settings(path, {k: v for k, v in own if k[0] != "_" and k != "built"}))
                classes.add(type(layer))
        for kind in classes:
            found.update(state.of_class(kind))
        return found

    def value(self) -> tuple:
        """The settings as a value that can be compared, without those that the model's own runs change."""
        if self.made_of is None:
            self.made_of = state.stable(self.model, self.settings())
        return self.made_of

    def ran(self, before: state.State) -> None:
        """Record which of the settings `before` a run changed."""
        state.ran(self.model, before, self.settings())
        self.made_of = None

    def reset(self) -> None:
        """Look everything up again: the model has other layers now."""
        self.found = self.made_of = None
