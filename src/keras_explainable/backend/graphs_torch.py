"""Whole steps as graphs that `torch.compile` compiles: the model, its signals and their gradients."""

import warnings
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np
import torch

PART = object()  # stands for a tensor in a structure

# Whether this thread is tracing a step.
tracing: ContextVar[bool] = ContextVar("tracing", default=False)


class Graphs:
    """`step(*args)`, compiled for each form of its arguments and of the weights, which are read at each call.

    A graph is traced on tensors without values, so no branch of it depends on values. Tensors that a model holds
    besides its weights are constants. A step that cannot be traced or compiled runs uncompiled, after a warning."""

    def __init__(self, step: Callable, weights: Callable[[], list]) -> None:
        self.step, self.weights = step, weights
        self.programs: dict[tuple, Callable | None] = {}  # None: the step runs uncompiled

    def __call__(self, *args: Any) -> Any:
        args = keras.tree.map_structure(_as_tensor, args)
        leaves, weights = keras.tree.flatten(args), self.weights()
        key = tuple(map(_form, (*leaves, *weights)))
        if key not in self.programs:
            self.step(*args)  # its findings about the model are cached, and are made of tensors with values
            weights = self.weights()  # that run may have built the model
            key = tuple(map(_form, (*leaves, *weights)))
            self.programs[key] = self._compiled(args, weights)
        program = self.programs[key]
        return self.step(*args) if program is None else program(weights, leaves)

    def _compiled(self, args: tuple, weights: list) -> Callable | None:
        try:
            program = _traced(self.step, args, weights)
            program(weights, keras.tree.flatten(args))  # compiles it
            return program
        except Exception as error:
            reason = next(iter(str(error).splitlines()), "")
            warnings.warn(
                "jit_compile=True came, and PyTorch cannot compile this step, so it runs uncompiled: "
                f"{type(error).__name__}: {reason}",
                stacklevel=2,
            )
            return None
        finally:
            self.step(*args)  # so that a module that keeps tensors of its last run keeps some with values


def _traced(step: Callable, args: tuple, weights: list) -> Callable:
    """A step as a compiled function of lists of weights and of the leaves of its arguments."""
    from torch.fx.experimental.proxy_tensor import make_fx

    leaves, made = keras.tree.flatten(args), []

    def flat(*tensors: torch.Tensor) -> list:
        given = iter(tensors)
        filled = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        outputs = step(*keras.tree.pack_sequence_as(args, filled))
        parts = keras.tree.flatten(outputs)
        made.append(keras.tree.map_structure(lambda part: PART if isinstance(part, torch.Tensor) else part, outputs))
        return [part for part in parts if isinstance(part, torch.Tensor)]

    token = tracing.set(True)
    try:
        with torch.inference_mode(False), torch.no_grad():
            graph = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*_tensors(leaves))
    finally:
        tracing.reset(token)
    used = _with_weights_as_arguments(graph, weights)
    program, structure = torch.compile(graph, dynamic=False), made.pop()

    def run(weights: list, leaves: list) -> Any:
        with torch.inference_mode(False), torch.no_grad():
            found = iter(program(*(weights[i].detach() for i in used), *_tensors(leaves)))
        parts = [next(found) if part is PART else part for part in keras.tree.flatten(structure)]
        return keras.tree.pack_sequence_as(structure, parts)

    return run


def _with_weights_as_arguments(graph: Any, weights: list) -> list[int]:
    """Make the weights in a graph its first arguments. Return which weights these are."""
    numbers = {id(weight): i for i, weight in enumerate(weights)}
    first, held, found = next(iter(graph.graph.nodes)), set(), {}
    for node in graph.graph.find_nodes(op="get_attr"):
        number = numbers.get(id(getattr(graph, node.target)))
        if number is None:  # a constant
            continue
        if number not in found:
            with graph.graph.inserting_before(first):
                found[number] = graph.graph.placeholder(f"weight_{number}")
        node.replace_all_uses_with(found[number])
        graph.graph.erase_node(node)
        held.add(node.target)
    for name in held:
        delattr(graph, name)
    graph.recompile()
    return list(found)


def _tensors(leaves: list) -> list[torch.Tensor]:
    """The tensors among the leaves, no two the same object: a graph would take them for one argument."""
    found: dict[int, torch.Tensor] = {}
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor):
            again = leaf.is_inference() or any(leaf is other for other in found.values())
            found[i] = leaf.clone() if again else leaf
    return list(found.values())


def _as_tensor(value: Any) -> Any:
    return keras.ops.convert_to_tensor(value) if isinstance(value, np.ndarray) else value


def _form(value: Any) -> Any:
    """What a graph depends on: the shape, type, place and layout of a tensor, and any other value itself."""
    if not isinstance(value, torch.Tensor):
        return value
    if torch.nn.parameter.is_lazy(value):
        return None
    return value.shape, value.dtype, value.device, value.stride()
