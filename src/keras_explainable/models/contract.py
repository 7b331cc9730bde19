"""The contract: what can be asked of a model, whatever it is made of.

A model is run as it is, and a `tap` sees (and may replace) chosen signals on the way. Two adapters keep this contract
(`models.keras`, `models.torch`); everything else in the library knows models only through it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from keras_explainable.models.trace import Call, Deviation, Point, Trace

Tap = Callable[[Point, Any], Any]


class Adapter(Protocol):
    """A model seen as a pure call with visible signals."""

    black_box: bool  # whether nothing but its scores can be had: no gradients, no signals
    separator: str  # between the names in a path
    pooling: tuple[Any, ...]  # classes of layers that end a model's spatial part
    signals: tuple | None  # addresses of those that the user exposed
    target: Any  # the address of the output that the user named, or None
    inputs: Any  # what the model takes besides images, a `models.inputs.Inputs`

    @property
    def channels_first(self) -> bool:
        """Whether the channels of the images are axis 1."""

    def run(
        self,
        x: Any,
        tap: Tap,
        points: frozenset[Point] | None,
        operations: bool = False,
        strict: bool = False,
        rules: bool = False,
    ) -> Any:
        """The model's outputs; `tap(point, value)` sees the signals at `points` (None: at all points), also those of
        `operations` outside of layers. A run that is seen to differ from the trace is refused: in the layers of these
        points, with `strict` in any layer, with `rules` also in its operations."""

    def trace(self, shape: tuple, dtype: str, operations: bool = False) -> Trace:
        """What happens when the model runs on images of this shape, found without computing where that is possible; of
        a module with its `operations` outside of layers, if asked for."""

    def attentions(self, shape: tuple, dtype: str) -> dict[Point, tuple]:
        """Where attention probabilities (batch, heads, tokens, tokens) are, in execution order, and their shapes."""

    def images(self, x: Any) -> Any:
        """Images as the backend's float32 tensor, where the model is."""

    def admit(self, path: tuple, value: Any) -> Any:
        """What else comes in than images, at a path of the model's inputs, as a tensor where the model is."""

    def check_integers(self, images: Any) -> None:
        """Refuse images of integers where the model does something else with them than with floats."""

    def own_type(self, images: Any) -> str | None:
        """The type of the user's images that is kept; None where the model casts them."""

    def device(self) -> AbstractContextManager:
        """A scope in which the backend computes where the model is."""

    def entry_axis(self, call: Call) -> int:
        """Where a layer with a kernel has the channels of its input."""

    def reach(self, call: Call, axis: int) -> float:
        """By how many places a convolution takes its input off at each end of an axis."""

    def geometry(self, call: Call, axis: int, old: int, new: int) -> tuple[float, float] | None:
        """The step and the first centre of the cells that a call makes of an axis of space, of a size `old`, in cells
        of that; None where it is not known."""

    def scores(self, outputs: Any) -> Any:
        """The tensor of scores among the model's outputs, where the user names none; None if there is no tensor."""

    def build(self, x: Any) -> None:
        """Create the weights of a model that was never called, from a first image."""

    def variables(self) -> list:
        """All weights, as the backend's variables."""

    def weights(self) -> list:
        """Those of the variables, and of a module's running statistics, that only training or loading changes."""

    def forget(self) -> None:
        """Let what was found by runs of the model be found anew."""

    def structure(self) -> tuple:
        """What the model is made of, as far as a compiled run depends on it."""

    def input_shape(self) -> tuple | None:
        """The shape of images that the model was built for, where it says so."""

    def layer(self, path: str) -> Any:
        """The layer at a path."""

    def children(self) -> list:
        """The model's own layers, as its user counts them."""

    def paths(self) -> dict[str, Any]:
        """Every layer by its path, containers too."""

    def expose(self, target: Any, signals: tuple | None) -> Any:
        """A model that returns [score, *signals], whose signals the methods then take."""

    def has_kernel(self, layer: Any) -> bool:
        """Whether a layer multiplies by weights: it is linear, or a convolution."""

    def bias(self, path: str) -> Any:
        """What a layer adds to each channel, at this moment: its effective bias, or None."""

    def kernel(self, path: str) -> Any:
        """The weights (channels, units) of the linear layer at a path, or None."""

    def role(self, call: Call) -> str | None:
        """What a call does, as one of the groups of `models.layer_roles`; None if it is none of them."""

    def rectifies(self, call: Call) -> bool:
        """Whether what a ReLU, or a call that ends with one, gives cannot be below 0: some have a slope there."""

    def deviation(self, path: str) -> Deviation:
        """What a layer normalisation divides by."""

    def weight(self, path: str, scale: Any = None) -> Any:
        """The kernel of a linear layer as float32, in the layer's own layout, its outputs times `scale` (channels,)."""

    def scale(self, path: str) -> Any:
        """What a normalisation multiplies each channel by, at this moment."""

    def apply(self, path: str, x: Any, kernel: Any = None) -> Any:
        """One layer alone, without its fused activation; with `kernel`, that in place of its own, and no bias."""
