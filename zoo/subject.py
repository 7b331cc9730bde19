"""A model, what is explained of it, and what its bare framework says of its scores, gradients and signals, as NumPy."""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Place(NamedTuple):
    """The signal that an explanation names: a layer's path, which of its calls, and whether what it takes or gives."""

    path: str
    call: int
    takes: bool

    @classmethod
    def of(cls, named):
        """The place in a text like `input of layer4.conv (call 2)`; None where it is no layer's input or output."""
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
    """What is tried. Its kinds (`zoo.modules`, `zoo.networks`) have, in the bare framework:

    scores(images): (N,). gradient(images): of the scores, like the images. guided(images): the same where ReLUs pass
    only what is positive, or None. signals(place, images): the tensors there, with their gradients. depth(place): how
    many calls of layers with kernels begin before it, of how many. state(): the weights and all else that an
    explanation must leave as it is; changed(state): what it left otherwise, in words.
    """

    model: Any
    x: Any  # NumPy images, or a dictionary with them and what rides along
    y: Any = None
    score: Any = None
    leaf: str | None = None
    channels_first: bool = True
    note: str = ""
    weights: int = 0
    without: tuple = ()  # methods that cannot be told of this model
    options: dict = field(default_factory=dict)  # of ke.explain

    @property
    def images(self):
        return self.x[self.leaf] if self.leaf else self.x

    @property
    def size(self):
        return self.images.shape[2:] if self.channels_first else self.images.shape[1:-1]

    @property
    def channels(self):
        """The axis of the images' channels."""
        return 1 if self.channels_first else -1


def reached(ran, wanted, call):
    """Of what ran, None for a layer with a kernel: how many of these came before a call of what is wanted, of all."""
    places = [k for k, one in enumerate(ran) if one is wanted]
    end = places[call] if call < len(places) else len(ran)
    return ran[:end].count(None), ran.count(None)
