"""Who is there: each method and metric enters its name and what is known of it, and stays the function that it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """What the tables, the command line and the tests know of a method."""

    name: str
    function: Callable
    family: str
    needs: str  # "gradient", "hidden signal", "linear head", "black box", ...
    cost: str  # in passes of the model
    reference: str
    postprocessing: Callable | None  # what its shortcut does to the maps
    resizing: bool  # whether its shortcut resizes the maps to the images
    caveat: str = ""  # why its maps may show nothing of the unit, where that is known

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return (self.function.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")


METHODS: dict[str, Record] = {}


def explainer(
    family: str,
    needs: str,
    cost: str,
    reference: str,
    *,
    postprocessing: Callable | None = None,
    resizing: bool = True,
    caveat: str = "",
) -> Callable:
    """Enter the decorated function as a method, under its own name."""

    def enter(function: Callable) -> Callable:
        name = function.__name__
        METHODS[name] = Record(name, function, family, needs, cost, reference, postprocessing, resizing, caveat)
        return function

    return enter


def get(name: str) -> Any:
    """The method of a name.

    Raises:
        KeyError: there is none; the message lists those that are.
    """
    if name not in METHODS:
        raise KeyError(f"No method is named {name!r}. There are: {', '.join(METHODS)}.")
    return METHODS[name].function
