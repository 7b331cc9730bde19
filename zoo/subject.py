"""A model, what to explain of it, and its scores, gradients and signals by the bare framework, as NumPy."""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Place(NamedTuple):
    """The signal that an explanation names: a layer's path, the number of its call, and whether it is its input."""

    path: str
    call: int
    takes: bool

    @classmethod
    def of(cls, named):
        """Parse a text such as `input of layer4.conv (call 2)`. Return None if it is not a layer's input or output."""
        found = re.match(r"(input of )?(\S+)( \(call (\d+)\))?", named)
        if found is None or named.startswith(("pre-activation of ", "attention of ")):
            return None
        return cls(found[2].rstrip(","), int(found[4] or 0), bool(found[1]))


class Signal(NamedTuple):
    """A tensor at a place, and the gradient of the images' scores with respect to it."""

    values: np.ndarray
    gradient: np.ndarray


@dataclass
class Subject:
    """A model to be tried. Its subclasses (`zoo.modules`, `zoo.networks`) compute, in the bare framework:

    - scores(images): (N,).
    - gradient(images): the gradient of the scores, shaped like the images.
    - guided(images): the same gradient if each ReLU passes only positive gradients, or None.
    - signals(place, images): the tensors at a place, with their gradients.
    - depth(place): how many calls of layers with kernels begin before a place, and how many there are.
    - state(): the weights and everything else that an explanation must not change.
    - changed(state): what an explanation changed, in words.
    """

    model: Any
    x: Any  # NumPy images, or a dictionary with them and the other inputs
    y: Any = None
    score: Any = None
    leaf: str | None = None
    channels_first: bool = True
    note: str = ""
    weights: int = 0
    without: tuple = ()  # methods that cannot be tried on this model
    options: dict = field(default_factory=dict)  # arguments of ke.explain

    @property
    def images(self):
        return self.x[self.leaf] if self.leaf else self.x

    @property
    def size(self):
        return self.images.shape[2:] if self.channels_first else self.images.shape[1:-1]

    @property
    def channels(self):
        """The channel axis of the images."""
        return 1 if self.channels_first else -1


def reached(ran, wanted, call):
    """Count the layers with kernels (None in `ran`) before a call of `wanted`, and all of them."""
    places = [k for k, one in enumerate(ran) if one is wanted]
    end = places[call] if call < len(places) else len(ran)
    return ran[:end].count(None), ran.count(None)
