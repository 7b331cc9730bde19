"""The part of a run that comes after a signal, on PyTorch: the operations that use the signal, recorded as they run."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

ATEN = torch.ops.aten
READS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}  # marks operations that look at values
TAKES = ATEN.index.Tensor  # looks only at masks, which `vmap` rejects
LIKE = 1e-3  # of the largest score: the recorded operations and the model may differ by this much


def _attention(query, key, value, dropout_p=0.0, is_causal=False, *, attn_mask=None, scale=None):
    return ATEN._scaled_dot_product_attention_math(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)


# The same values, by an operation with a batching rule.
INSTEAD = {ATEN._scaled_dot_product_flash_attention_for_cpu.default: _attention}
# The same values, without conditions on the memory layout, which is different under `vmap`. The result may be a copy,
# so this is used only if no operation writes to a tensor.
VIEWS = {ATEN.view.default: ATEN.reshape.default, ATEN._unsafe_view.default: ATEN.reshape.default}


@dataclass(frozen=True)
class _Number:
    """Stands for a tensor that depends on the signal, which has number 0."""

    number: int


class _Step(NamedTuple):
    """A recorded operation, with its inputs by number."""

    function: Callable
    args: list
    named: dict
    results: list[int]

    @property
    def used(self) -> set[int]:
        return {value.number for value in _flat([self.args, *self.named.values()]) if isinstance(value, _Number)}

    def run(self, known: Callable) -> list:
        named = {name: _each(value, known) for name, value in self.named.items()}
        return _flat([self.function(*_each(self.args, known), **named)])


class _Recording(TorchDispatchMode):
    """A scope that records the operations that depend on a signal, as they are after autocast."""

    def __init__(self, signal: torch.Tensor) -> None:
        super().__init__()
        self.steps: list[_Step] = []
        self.numbers = WeakTensorKeyDictionary({signal: 0})
        self.made, self.writes = 1, False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        named = {name: _each(v, self.number) for name, v in kwargs.items() if name != "memory_format"}
        step = _Step(func, _each(args, self.number), named, [])
        output = func(*args, **kwargs)
        if not step.used:
            return output
        if READS.intersection(func.tags) and func is not TAKES:
            raise NotImplementedError(f"{func} looks at values that depend on the signal")
        for one in _flat([output]):
            self.numbers[one] = self.made
            step.results.append(self.made)
            self.made += 1
        if func is ATEN.copy_.default and not isinstance(step.args[0], _Number):  # what is written to is not used again
            func = ATEN.copy.default
        self.writes = self.writes or func._schema.is_mutable
        self.steps.append(step._replace(function=INSTEAD.get(func, func)))
        return output

    def number(self, value):
        number = self.numbers.get(value) if isinstance(value, torch.Tensor) else None
        return value if number is None else _Number(number)

    def tail(self, scores: torch.Tensor) -> Callable:
        """The scores as a function of the signal."""
        views, end = {} if self.writes else VIEWS, self.number(scores)
        steps = [step._replace(function=views.get(step.function, step.function)) for step in self.steps]
        last = {number: i for i, step in enumerate(steps) for number in (*step.results, *step.used)}
        done: list[list[int]] = [[] for _ in steps]
        for number, i in last.items():
            if _Number(number) != end:
                done[i].append(number)

        def run(signal):
            values = {0: signal}

            def known(value):
                return values[value.number] if isinstance(value, _Number) else value

            for step, unused in zip(steps, done, strict=True):
                values.update(zip(step.results, step.run(known), strict=True))
                for number in unused:
                    del values[number]
            return known(end)

        return run


def _each(values, function: Callable):
    """The arguments of an operation with each tensor, number or list of these replaced by a function's value."""
    return [_each(value, function) for value in values] if isinstance(values, (list, tuple)) else function(values)


def _flat(values: Iterable) -> list:
    """The tensors, and what stands for them, among arguments or results."""
    found = []
    for value in values:
        if isinstance(value, (torch.Tensor, _Number)):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(_flat(value))
    return found


def resumed(run: Callable, x, key) -> tuple:
    values: dict = {}
    with torch.inference_mode(False), torch.no_grad(), ExitStack() as stack:
        x = x.clone() if x.is_inference() else x

        def tap(at, value):
            if at != key:
                return value
            values[at], value = value.clone(), value.clone()
            values["recording"] = stack.enter_context(_Recording(value))
            return value

        scores = run(x, tap)
    if not values:
        return scores, {}, None
    tail = values.pop("recording").tail(scores)
    _check(run, x, key, values[key], tail)
    return scores, values, tail


def _check(run: Callable, x, key, value: torch.Tensor, tail: Callable) -> None:
    """Raise if the recorded operations differ from the model for another signal. Computations of compiled functions and
    of NumPy are not recorded."""
    with torch.inference_mode(False), torch.no_grad():
        other = value.flip(tuple(range(1, value.ndim)))
        expected = run(x, lambda at, value: other.clone() if at == key else value)
        found = tail(other)
        if not torch.allclose(found, expected, LIKE, LIKE * float(expected.abs().max()), equal_nan=True):
            raise NotImplementedError("a part of it cannot be recorded, or it draws random numbers")


def mapped(function: Callable, numbers):
    torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # an operation without a rule runs in a loop
    try:
        with torch.inference_mode(False), torch.no_grad():
            at_once, found = torch.func.vmap(function, randomness="error"), None
            for i, row in enumerate(numbers):
                made = at_once(row)
                # Kept in one tensor: many small ones would split the memory that the next step needs in one piece.
                found = made.new_empty((len(numbers), *made.shape)) if found is None else found
                found[i] = made
            return found
    finally:
        torch._C._functorch._set_vmap_fallback_warning_enabled(True)
