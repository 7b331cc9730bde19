"""What is known about a score: a function from a model's outputs to (batch, K) scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from keras import ops

Score = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class ScoreTraits:
    """The properties of a score that methods need to know."""

    before_activation: bool = False  # whether it takes the values before the model's last softmax or sigmoid
    linear: bool = False  # whether it is linear in the units
    units: tuple[int, ...] | None = None  # the units that are its columns, if it only selects units
    which: tuple = ()  # the path of the output that it takes; () for the first one
    channels: int | None = None  # the channels' axis in the maps that it takes, if any

    def without_channels(self, rank: int, outputs: Any) -> int | None:
        """The axis to insert into the outputs if they lack the axis of their only channel, else None. `rank` is the
        number of the images' spatial axes."""
        lacks = self.channels is not None and ops.is_tensor(outputs) and len(outputs.shape) == rank + 1
        return self.channels if lacks else None


UNITS = ScoreTraits(before_activation=True, linear=True)  # of the model's units themselves


class Choice(Protocol):
    """A score that chooses units, or columns of the score `of`."""

    @property
    def of(self) -> Score | None:
        """The score whose columns are chosen; None for the model's units."""

    @property
    def count(self) -> int:
        """How many units are chosen for each image."""

    def __call__(self, outputs: Any) -> Any: ...

    def choose(self, scores: Any) -> Any:
        """The chosen (batch, K) units, given the scores of all units."""


def score_traits(score: Score | None) -> ScoreTraits:
    """The traits of a score. A user's function may have the attributes `before_activation` and `linear`.

    A Keras layer or a module may be a score, and its attributes `units` or `linear` mean something else."""
    if score is None:
        return UNITS
    if isinstance(score, ScoreTraits):
        return score
    return ScoreTraits(
        before_activation=bool(getattr(score, "before_activation", False)),
        linear=getattr(score, "linear", False) is True,
    )


def chooses(score: Any) -> TypeGuard[Choice]:
    """Whether this is an object that chooses units by their scores. (Arrays have another `choose`.)"""
    return callable(score) and hasattr(score, "choose")


def chosen_of(choice: Choice) -> Score | None:
    """The score whose columns are chosen; None for the model's units."""
    return getattr(choice, "of", None)
