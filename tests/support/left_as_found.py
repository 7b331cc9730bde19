"""All that a user could find changed on a model or module, before and after a call."""

import copy

import keras
import numpy as np

from support.compare import as_numpy


def state(model):
    """The values of a model's weights and buffers, and everything else that could be found changed on it."""
    return _keras_state(model) if isinstance(model, keras.Model) else _torch_state(model)


def same(before, after):
    """Assert that nothing changed between two states."""
    values, others = zip(before, after, strict=True)
    assert others[0] == others[1]
    for a, b in zip(*values, strict=True):
        np.testing.assert_array_equal(a, b)


def _keras_state(model):
    def own(layer):
        skipped = ("_called", "_losses", "_backward_hooks")
        plain = {k: v for k, v in vars(layer).items() if isinstance(v, (int, float, str, bool, type(None)))}
        others = {k: id(v) for k, v in vars(layer).items() if k not in plain}
        return [{k: v for k, v in part.items() if k not in skipped} for part in (plain, others)]

    layers = [model, *model._flatten_layers(include_self=False)]
    on_torch = keras.backend.backend() == "torch"
    flags = [(id(w.value.grad), w.value.requires_grad) for w in model.weights] if on_torch else []
    return [np.array(w) for w in model.get_weights()], ([own(layer) for layer in layers], flags)


def _torch_state(module):
    tensors = [*module.named_parameters(), *module.named_buffers()]
    values = [as_numpy(value).copy() for _, value in tensors]
    flags = [(n, id(t), id(t.grad), t.requires_grad, t.stride(), t._version, t._backward_hooks) for n, t in tensors]
    own = [(n, m.training, {k: copy.copy(v) for k, v in vars(m).items()}) for n, m in module.named_modules()]
    return values, (flags, own)
