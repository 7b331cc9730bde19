"""The subject for a torch.nn.Module: scores, gradients and signals by forward hooks and autograd."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from zoo.subject import Signal, Subject, reached
from zoo.weights import KERNELS

GATES = ("ReluBackward0", "HardtanhBackward0")  # and ReLU6


@dataclass
class Module(Subject):
    """`own` computes (N,) scores from the model's outputs, without the library."""

    own: Callable[[Any], torch.Tensor] | None = None

    def call(self, images):
        if self.leaf is None:
            return self.model(images)
        beside = {key: torch.as_tensor(value) for key, value in self.x.items()}
        return self.model(**(beside | {self.leaf: images}))

    def scored(self, images):
        outputs = self.call(images)
        if self.own is not None:
            return self.own(outputs)
        logits = outputs if isinstance(outputs, torch.Tensor) else outputs.logits
        return logits[torch.arange(len(images)), torch.as_tensor(self.y)]

    def scores(self, images):
        with torch.no_grad():
            return self.scored(torch.as_tensor(images)).numpy()

    def gradient(self, images):
        x = torch.as_tensor(images).clone().requires_grad_(True)
        return torch.autograd.grad(self.scored(x).sum(), x)[0].numpy()

    def guided(self, images):
        """Return gradients for which each ReLU passes only positive gradients."""
        x = torch.as_tensor(images).clone().requires_grad_(True)
        scores = self.scored(x)
        handles = [
            node.register_hook(lambda inner, _: tuple(g if g is None else g.clamp(min=0) for g in inner))
            for node in graph(scores.grad_fn)
            if node.name() in GATES
        ]
        if not handles:
            return None
        return torch.autograd.grad(scores.sum(), x)[0].numpy()

    def signals(self, place, images, gradients=True):
        """Return the inputs or outputs of a call of a module that have at least three axes."""
        module = dict(self.model.named_modules(remove_duplicate=False)).get(place.path)
        if module is None:
            return []
        calls = []

        def before(_, args, kwargs):
            calls.append(tensors((args, kwargs)))
            return copied(args), copied(kwargs)

        def after(_, args, outputs):
            calls.append(tensors(outputs))
            return copied(outputs)

        if place.takes:
            handle = module.register_forward_pre_hook(before, with_kwargs=True)
        else:
            handle = module.register_forward_hook(after)
        try:
            with torch.set_grad_enabled(gradients):
                x = torch.as_tensor(images).clone().requires_grad_(gradients)
                scores = self.scored(x).sum()
        finally:
            handle.remove()
        found = calls[place.call] if place.call < len(calls) else []
        zeros = [torch.zeros_like(tensor) for tensor in found]
        if gradients:
            found = [tensor for tensor in found if tensor.requires_grad]
            zeros = torch.autograd.grad(scores, found, allow_unused=True, materialize_grads=True) if found else []
        return [Signal(a.detach().numpy(), g.detach().numpy()) for a, g in zip(found, zeros, strict=True)]

    def depth(self, place):
        """Return how many calls of layers with kernels have begun when a place is reached, and how many there are."""
        of_place, ran, handles = self.model.get_submodule(place.path), [], []
        for part in self.model.modules():
            if part is of_place and not place.takes:
                handles.append(part.register_forward_hook(lambda *_: ran.append(of_place)))
            elif part is of_place:
                handles.append(part.register_forward_pre_hook(lambda *_: ran.append(of_place)))
            if isinstance(part, KERNELS):
                handles.append(part.register_forward_pre_hook(lambda *_: ran.append(None)))
        try:
            self.scores(self.images)
        finally:
            for handle in handles:
                handle.remove()
        return reached(ran, of_place, place.call)

    def state(self):
        values = {
            key: value.clone() for key, value in self.model.state_dict().items() if isinstance(value, torch.Tensor)
        }
        parts = [
            (name, len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks), part.training)
            for name, part in self.model.named_modules()
        ]
        parameters = [(name, p.requires_grad, p.grad is None) for name, p in self.model.named_parameters()]
        return values, parts, parameters

    def changed(self, before):
        return differences(before, self.state())


def differences(before, after):
    """Describe what differs between two states of a module."""
    found = [f"weight {key}" for key in before[0] if not same(before[0][key], after[0].get(key))]
    found += [f"weight {key} is new" for key in after[0].keys() - before[0].keys()]
    for one, other in zip(before[1:], after[1:], strict=True):
        found += [f"{a} became {b}" for a, b in zip(one, other, strict=False) if a != b]
    return found


def same(one, other):
    return other is not None and one.shape == other.shape and np.array_equal(one.numpy(), other.numpy(), equal_nan=True)


def graph(root):
    """Return all nodes of the backward graph."""
    seen, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [after for after, _ in node.next_functions]
    return seen


def tensors(value):
    """Return the floating-point tensors with at least three axes in nested outputs."""
    if isinstance(value, torch.Tensor):
        return [value] if value.ndim > 2 and value.is_floating_point() else []
    if isinstance(value, dict):
        value = list(value.values())
    return [found for part in value for found in tensors(part)] if isinstance(value, (list, tuple)) else []


def copied(value):
    """Copy the tensors in a value, so that in-place operations do not change the recorded ones."""
    if isinstance(value, torch.Tensor):
        return value.clone() if value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)(map(copied, value))
    return {key: copied(part) for key, part in value.items()} if type(value) is dict else value
