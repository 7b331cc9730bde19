"""Write the signatures of the methods' shortcuts for editors and type checkers: `make stubs`.

`ke.gradcam` and the others are made when they are first used, so type checkers cannot see them. A test checks the file
against the registry."""

import inspect
import re
from pathlib import Path
from typing import Any

import keras_explainable as ke
from keras_explainable import shortcuts

FILE = Path(__file__).resolve().parents[1] / "src" / "keras_explainable" / "method_shortcuts.pyi"
HEAD = '''"""The shortcuts of the methods, such as `ke.gradcam`. Written by `make stubs` from the registry."""

from collections.abc import Callable, Sequence
from typing import Any

from keras_explainable.explaining.results import Explanation
'''
PLAIN = re.compile(
    r"(int|float|str|bool|None|Any|Callable|Sequence\[str\])( \| (int|float|str|bool|None|Callable|tuple))*"
)


def text() -> str:
    """Return the file's text."""
    return HEAD + "".join(map(_function, sorted(ke.registry.METHODS)))


def _function(name: str) -> str:
    found = inspect.signature(shortcuts.shortcut(name)).parameters.values()
    lines: list[str] = []
    for parameter in found:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in lines:
            lines.append("*")
        lines.append(_parameter(parameter))
    inside = "".join(f"    {line},\n" for line in lines)
    summary = ke.registry.METHODS[name].summary.replace("\n", " ")
    return f'\ndef {name}(\n{inside}) -> Explanation:\n    """{summary}"""\n'


def _parameter(parameter: inspect.Parameter) -> str:
    kind = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    said = f"{kind}{parameter.name}: {_annotation(parameter.annotation)}"
    return said if parameter.default is parameter.empty else f"{said} = {_default(parameter.default)}"


def _annotation(annotation: Any) -> str:
    """Return an annotation of built-in types as it stands, and Any for all others."""
    said = getattr(annotation, "__name__", "") if isinstance(annotation, type) else str(annotation)
    said = said.replace("collections.abc.", "").replace("typing.", "")
    return said if PLAIN.fullmatch(said) else "Any"


def _default(value: Any) -> str:
    return repr(value).replace("'", '"') if value is None or isinstance(value, bool | int | float | str) else "..."


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)
