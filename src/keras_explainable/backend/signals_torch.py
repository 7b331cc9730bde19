"""The signals of one forward pass on PyTorch, tapped so that their gradients can be taken column by column."""

from collections.abc import Callable, Container

import torch


class Signals:
    """The tapped signals of one forward pass, and the reduced gradients that arrive at them."""

    def __init__(self, at: list, reduce: Callable, keep: Container) -> None:
        self.at, self.reduce, self.keep = at, reduce, keep
        self.values: dict = {}
        self.zeros: dict = {}  # by key: zeros like the signal, in no memory
        self.leaves: dict = {}  # by key: the signals where the graph begins
        self.nodes: set = set()  # autograd nodes of the tapped signals
        self.arrived: dict = {}  # by key: the reduced gradient of the present column
        self.reached: set = set()

    def tap(self, key, value):
        if key not in self.at and key in self.keep:
            self.values[key] = value.detach().clone()  # later layers may work in place
        if key not in self.at or not value.is_floating_point():
            return value
        torch.set_grad_enabled(True)  # from here on; `no_grad` in `jacobian` ends it
        keep = key in self.keep
        shared = key.link == "input"  # other layers may take it too, or change it in place
        if value.requires_grad and _follows(value.grad_fn, self.nodes):
            # Later layers may work in place: a hook sees the gradient of the value before that, but not on a view.
            seen = value.clone() if keep or shared or value._is_view() else value
            seen.register_hook(_arrival(key, self.reduce, self.values, self.arrived))
        else:  # no tapped signal comes before it (it may still depend on trainable weights): the graph begins here
            self.leaves[key] = (value.detach().clone() if keep else value.detach()).requires_grad_()
            seen = self.leaves[key].clone()
        self.nodes.add(seen.grad_fn)
        self.zeros[key] = torch.zeros((), device=value.device).expand(value.shape)
        if keep:
            self.values[key] = value.detach().clone() if shared else value.detach()
        return seen

    def column(self, scores, k: int) -> dict:
        """The reduced gradients of one column of the scores, by key."""
        self.arrived.clear()
        if scores.requires_grad:
            one = torch.zeros_like(scores)
            one[:, k] = 1
            more = k + 1 < scores.shape[-1]
            grads = torch.autograd.grad(scores, list(self.leaves.values()), one, retain_graph=more, allow_unused=True)
            for key, grad in zip(self.leaves, grads, strict=True):
                if grad is not None:
                    self.arrived[key] = self.reduce(key, grad.float(), self.values.get(key))
        self.reached |= self.arrived.keys()
        for key, zeros in self.zeros.items():
            if key not in self.arrived:
                self.arrived[key] = self.reduce(key, zeros.clone(), self.values.get(key))
        return {key: self.arrived[key] for key in self.zeros}


def _arrival(key, reduce: Callable, values: dict, arrived: dict) -> Callable:
    # Not a method: a hook that holds `Signals` would be in a reference cycle with the graph.
    def hook(grad):
        if grad is not None:  # None after layers without a backward pass (quantized layers)
            arrived[key] = reduce(key, grad.detach().float(), values.get(key))

    return hook


def _follows(node, ancestors: set) -> bool:
    """Whether a node of the graph depends on one of `ancestors`."""
    waiting, passed = [node], set()
    while waiting:
        node = waiting.pop()
        if node in ancestors:
            return True
        if node is not None and node not in passed:
            passed.add(node)
            waiting.extend(before for before, _ in reversed(node.next_functions))
    return False
