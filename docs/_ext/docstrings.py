"""Turn docstrings, written like Markdown with single backticks, into the reStructuredText that Sphinx reads."""

import inspect
import re
from typing import Any

import method_pages

import keras_explainable as ke

CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
NAME = re.compile(r"ke(\.\w+)+(\(\))?")
SPECIAL = re.compile(r"[*|]|(?<=\w)_(?!\w)")  # characters with a meaning in reStructuredText, which are literal here
SECTION = re.compile(r"^(Args|Common arguments|Returns|Raises|Yields|Attributes|References?):")
ADDRESS = re.compile(r"<(?:function|class) '?([\w.]+)'?(?: at 0x[0-9a-f]+)?>")
PACKAGE = "keras_explainable."


def convert(lines: list[str]) -> list[str]:
    """Return the lines of a docstring in reStructuredText."""
    text = "\n".join(_lists(lines))
    parts = CODE.split(text)  # text and code alternate
    parts[::2] = [SPECIAL.sub(r"\\\g<0>", part) for part in parts[::2]]
    parts[1::2] = [_code(" ".join(part.split())) for part in parts[1::2]]
    return _literal("".join(parts).split("\n"))


def _code(code: str) -> str:
    """Return a name of this library as a link to its documentation, and any other code as it is."""
    if not NAME.fullmatch(code):
        return f"``{code}``"
    return f":py:obj:`{code} <{PACKAGE}{code.removeprefix('ke.').removesuffix('()')}>`"


def _lists(lines: list[str]) -> list[str]:
    """Insert an empty line before each list, as reStructuredText requires."""
    found: list[str] = []
    for line in lines:
        if line.lstrip().startswith("- ") and found and found[-1].strip() and not _in_list(found):
            found.append("")
        found.append(line)
    return found


def _in_list(lines: list[str]) -> bool:
    paragraph = []
    for line in reversed(lines):
        if not line.strip():
            break
        paragraph.append(line)
    return any(line.lstrip().startswith("- ") for line in paragraph)


def _literal(lines: list[str]) -> list[str]:
    """Mark indented lines after a paragraph, outside of sections, as programs."""
    found: list[str] = []
    inside = False
    for line in lines:
        if SECTION.match(line):
            inside = True
        starts = line.startswith("    ") and found and not found[-1].strip()
        if starts and not inside and not _after_literal(found):
            found += ["::", ""]
        found.append(line)
    return found


def _after_literal(lines: list[str]) -> bool:
    before = [line for line in lines if line.strip()]
    return bool(before) and (before[-1].startswith("    ") or before[-1].endswith("::"))


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Convert a docstring. For a method, leave out its summary and its equation, which its page already shows."""
    method = name.removeprefix(PACKAGE)
    if what == "function" and method in ke.registry.METHODS:
        lines[:] = method_pages.first_parts(lines)[2]
    lines[:] = convert(lines)


def signature(app: Any, what: str, name: str, obj: Any, options: Any, given: str | None, returned: str | None) -> Any:
    """Shorten the signature of a shortcut to the arguments of its own method, and replace the addresses of functions by
    their names."""
    record = ke.registry.METHODS.get(name.removeprefix(PACKAGE))
    if record is None:
        return (ADDRESS.sub(r"\1", given) if given else given), returned
    own = ke.registry.parameters(record.function) or {}
    plain = [p.replace(annotation=inspect.Parameter.empty, kind=p.KEYWORD_ONLY) for p in own.values()]
    arguments = ", ".join(str(p) for p in plain)
    usual = f"postprocessing=ke.filters.{record.postprocessing.__name__}" if record.postprocessing else ""
    return f"(model, x, y=None, *, {', '.join(filter(None, [arguments, usual]))}, **explain)", None
