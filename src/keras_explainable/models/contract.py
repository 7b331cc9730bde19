"""The contract: everything that the library can ask of a model.

An `Adapter` runs a model as it is, and a `tap` sees (and may replace) chosen signals during the run. `LayerMath` is the
mathematics of the model's layers. Both are implemented in `models.keras` and in `models.torch`; the rest of the library
knows models only through them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np

from keras_explainable.models.trace import Call, Deviation, Point, Trace

Tap = Callable[[Point, Any], Any]


class Parameter(NamedTuple):
    """A weight of a layer that is not a normalisation."""

    path: str  # of the layer
    variable: Any  # the backend's variable
    value: np.ndarray  # its axes ordered as in Keras: a convolution's kernel is (*window, inputs, outputs)
    axes: tuple[int, ...]  # the axes of the variable, in the order of those of `value`

    def own(self, value: np.ndarray) -> np.ndarray:
        """Another value, in the order of axes of the variable."""
        return np.transpose(value, np.argsort(self.axes))


class LayerMath(Protocol):
    """What the layers of a model compute, from their current weights. `path` is a layer's path."""

    def has_kernel(self, layer: Any) -> bool:
        """Whether a layer multiplies by weights: it is linear, or a convolution."""

    def bias(self, path: str) -> Any:
        """The effective bias that a layer adds to each channel, from its current weights; None if there is none."""

    def kernel(self, path: str) -> Any:
        """The weights (channels, units) of the linear layer at a path, or None."""

    def role(self, call: Call) -> str | None:
        """What a call does: one of the groups of `models.layer_roles`, or None."""

    def rectifies(self, call: Call) -> bool:
        """Whether a ReLU, or a call that ends with one, gives no values below 0. (A ReLU may have a negative slope.)"""

    def deviation(self, path: str) -> Deviation:
        """The standard deviation that a layer normalisation divides by."""

    def weight(self, path: str, scale: Any = None) -> Any:
        """The kernel of a linear layer as float32, in the layer's own layout, its outputs times `scale` (channels,)."""

    def scale(self, path: str) -> Any:
        """The factor that a normalisation multiplies each channel by, from its current weights."""

    def apply(self, path: str, x: Any, kernel: Any = None) -> Any:
        """Run one layer alone, without its fused activation. With `kernel`, use that instead of its own, and no
        bias."""

    def entry_axis(self, call: Call) -> int:
        """The channels' axis in the input of a layer with a kernel."""

    def reach(self, call: Call, axis: int) -> float:
        """By how many positions a convolution shrinks its input at each end of an axis."""

    def geometry(self, call: Call, axis: int, old: int, new: int) -> tuple[float, float] | None:
        """For a spatial axis of size `old`, the distance between the centres of a call's output cells, and the centre
        of the first one, both in input cells; None if unknown."""


class Adapter(Protocol):
    """A model as a function with visible signals."""

    black_box: bool  # whether it has scores only: no gradients, no signals
    separator: str  # between the names in a path
    pooling: tuple[Any, ...]  # classes of layers that end a model's spatial part
    signals: tuple | None  # addresses of the signals that the user exposed
    target: Any  # the address of the output that the user named, or None
    inputs: Any  # what the model takes besides images, a `models.inputs.Inputs`

    @property
    def channels_first(self) -> bool:
        """Whether the channels of the images are axis 1."""

    @property
    def layers(self) -> LayerMath:
        """The mathematics of the model's layers."""

    def run(
        self,
        x: Any,
        tap: Tap,
        points: frozenset[Point] | None,
        operations: bool = False,
        strict: bool = False,
        rules: bool = False,
    ) -> Any:
        """Run the model and return its outputs.

        `tap(point, value)` sees the signals at `points` (None for all points), also those of `operations` outside of
        layers. Raises if the run differs from the trace: in the layers of these points; with `strict` in any layer;
        with `rules` also in its operations."""

    def trace(self, shape: tuple, operations: bool = False) -> Trace:
        """Record what happens when the model runs on images of this shape, without computing if that is possible. With
        `operations`, also record those outside of a module's layers."""

    def attentions(self, shape: tuple) -> dict[Point, tuple]:
        """The points of attention probabilities (batch, heads, tokens, tokens), in execution order, and their
        shapes."""

    def images(self, x: Any) -> Any:
        """Images as the backend's float32 tensor, on the model's device."""

    def admit(self, path: tuple, value: Any) -> Any:
        """An input other than the images, at a path of the model's inputs, as a tensor on the model's device."""

    def check_integers(self, images: Any) -> None:
        """Raise if integer images came, and the model treats them differently from floats."""

    def own_type(self, images: Any) -> str | None:
        """The type of the user's images, if it is kept; None if the model casts them."""

    def device(self) -> AbstractContextManager:
        """A scope in which the backend computes on the model's device."""

    def scores(self, outputs: Any) -> Any:
        """The tensor of scores among the model's outputs, if the user names none; None if there is no tensor."""

    def build(self, x: Any) -> None:
        """Create the weights of a model that was never called, from a first image."""

    def variables(self) -> list:
        """All weights, as the backend's variables."""

    def weights(self) -> list:
        """The variables and running statistics that only training or loading changes."""

    def parameters(self) -> list[Parameter]:
        """The weights of all layers but normalisations, layer by layer."""

    def replacing(self, model: Any) -> AbstractContextManager[tuple[Any, Callable]]:
        """A scope with a model like the given one and a function `put(pairs)`. After a call of `put`, the model
        computes with the given values (arrays) of some variables, and with its own values of the others. The given
        model is not changed."""

    def forget(self) -> None:
        """Drop what was found by running the model."""

    def structure(self) -> tuple:
        """The layers and settings that a compiled run depends on, as a value that can be compared."""

    def input_shape(self) -> tuple | None:
        """The shape of images that the model was built for, if it declares one."""

    def layer(self, path: str) -> Any:
        """The layer at a path."""

    def children(self) -> list:
        """The model's direct layers, as its user counts them."""

    def paths(self) -> dict[str, Any]:
        """Every layer by its path, including containers."""

    def expose(self, target: Any, signals: tuple | None) -> Any:
        """A model that returns [score, *signals]; methods then explain these signals."""
