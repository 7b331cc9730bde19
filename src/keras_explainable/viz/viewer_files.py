"""The viewer's modules and styles as text, for pages that load nothing, such as the output of a notebook."""

import re
from functools import cache
from importlib.resources import files

ORDER = ("values", "colors", "stage", "controls", "enlarged", "shown")  # each needs only those before it
COLORS = ("turbo", "inferno", "bwr")  # the last one is for maps that go below zero


@cache
def script() -> str:
    """Return all modules as one, which defines `start(element)`. It belongs in a `<script type="module">`."""
    return "\n".join(re.sub(r"^import .*\n|^export ", "", _file(f"{name}.js"), flags=re.MULTILINE) for name in ORDER)


@cache
def style() -> str:
    """Return the styles of everything inside of an element of the class "kx"."""
    return _file("viewer.css")


def _file(name: str) -> str:
    return (files(__package__) / "viewer" / name).read_text(encoding="utf-8")
