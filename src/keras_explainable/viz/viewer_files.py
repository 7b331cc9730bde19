"""The viewer's modules and styles as text, for pages that load nothing, such as the output of a notebook."""

import re
from functools import cache
from importlib.resources import files
from typing import Any

from keras_explainable.viz.colormaps import COLOR_MAPS

MODULES = ("values", "colors", "stage", "controls", "enlarged")  # each needs only those before it
CELL = "shown"  # starts the viewer in a notebook's cell
COLORS = ("turbo", "inferno", "bwr")  # the last one is for maps that go below zero


@cache
def script(*more: str) -> str:
    """Return all modules, and `more`, as one. With `CELL`, it defines `start(element)`."""
    each = (_file(f"{name}.js") for name in (*MODULES, *more))
    return "\n".join(re.sub(r"^import .*\n|^export ", "", text, flags=re.MULTILINE) for text in each)


def colors() -> dict[str, Any]:
    """Return the tables of the colours to choose from."""
    return {name: COLOR_MAPS[name] for name in COLORS}


@cache
def style() -> str:
    """Return the styles of everything inside of an element of the class "kx"."""
    return _file("viewer.css")


def _file(name: str) -> str:
    return (files(__package__) / "viewer" / name).read_text(encoding="utf-8")
