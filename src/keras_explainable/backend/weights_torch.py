"""Detect changed weights on PyTorch: it counts in-place changes of a tensor. Some optimizers (with `fused=True`) bypass
that counter, so their steps are counted here."""

from typing import Any
from weakref import WeakKeyDictionary

import keras
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from keras_explainable.backend.read_only import Mark

_steps: WeakKeyDictionary = WeakKeyDictionary()  # by optimizer: how often a step began or ended
_hooks: list = []  # never removed, so that a step already in progress is noticed


def _count(optimizer: Any, *_: Any) -> None:
    _steps[optimizer] = _steps.get(optimizer, 0) + 1


def marks(variables: list, model: Any) -> list:
    if not _hooks:
        _hooks.extend((register_optimizer_step_pre_hook(_count), register_optimizer_step_post_hook(_count)))
    values = [v.value if isinstance(v, keras.Variable) else v for v in variables]
    values = [value for value in values if not torch.nn.parameter.is_lazy(value)]
    known = set(map(id, values))
    trained = [o for o in [*_steps] if any(id(p) in known for group in o.param_groups for p in group["params"])]
    return [Mark(value, *_state(value)) for value in values] + [Mark(o, _steps.get(o)) for o in trained]


def _state(value: torch.Tensor) -> tuple:
    plain = type(value) in (torch.Tensor, torch.nn.Parameter)  # subclasses may have no memory of their own
    return 0 if value.is_inference() else value._version, value.data_ptr() if plain else 0
