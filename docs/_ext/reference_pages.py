"""The pages of the API reference, generated from the public modules."""

import importlib
import inspect
from pathlib import Path
from typing import Any

from keras_explainable import public_names

PACKAGE = "keras_explainable"
PAGES = {  # page: title, module
    "scores": ("Scores: what to explain", "scores"),
    "families": ("Families of methods", ""),
    "meta": ("Meta-methods: methods that run other methods", "methods.meta"),
    "lrp": ("Rules of LRP", "methods.propagation.rules"),
    "composites": ("Composites of rules", "methods.propagation.composites"),
    "evaluation": ("Evaluation", "evaluation"),
    "metrics": ("Metrics", "metrics"),
    "inspection": ("Model inspection", "inspection"),
    "filters": ("Filters of maps", "filters"),
    "masking": ("Segments and fills", "masking.segments"),
    "models": ("The view of a model that methods get", "models.view"),
    "loading": ("Models from files", "loading"),
    "demo": ("The demo network and its scenes", "demo"),
    "distributed": ("Whole data sets", "distributed"),
    "figures": ("Figures", "viz.figure"),
    "images": ("Pictures", "viz.image"),
    "progress": ("Progress of long calls", "progress"),
    "errors": ("Errors", "errors"),
}
FAMILIES = ("methods", "methods.cams", "methods.gradient", "methods.perturbation", "methods.attention")


def write(folder: Path) -> None:
    """Write the pages of the reference."""
    folder.mkdir(parents=True, exist_ok=True)
    top = sorted(name for name, home in public_names.homes().items() if home != PACKAGE)
    shown = [directive(PACKAGE, name) for name in top if _documented(PACKAGE, name)]
    (folder / "top.rst").write_text(_page("The package", "".join(shown)), encoding="utf-8")
    for page, (title, module) in PAGES.items():
        (folder / f"{page}.rst").write_text(_page(title, _module(module) if module else _families()), encoding="utf-8")


def _page(title: str, body: str) -> str:
    return f"{title}\n{'=' * len(title)}\n\n{body}"


def _module(name: str) -> str:
    full = f"{PACKAGE}.{name}"
    names = names_of(importlib.import_module(full))
    return f"``ke.{name}``\n\n.. automodule:: {full}\n\n" + "".join(directive(full, one) for one in names)


def _families() -> str:
    heads = [f"``ke.{name}``\n{'-' * (len(name) + 7)}\n\n.. automodule:: {PACKAGE}.{name}\n\n" for name in FAMILIES]
    return "".join(heads)


def names_of(module: Any) -> list[str]:
    """Return the names of a module's public functions and classes: those that it defines, or all that it imports if it
    is a package or defines none."""
    every = [name for name in vars(module) if _documented(module.__name__, name)]
    own = [name for name in every if _documented(module.__name__, name, module.__name__)]
    return sorted(every if hasattr(module, "__path__") or not own else own, key=str.lower)


def _documented(module: str, name: str, home: str | None = None) -> bool:
    found = getattr(importlib.import_module(module), name)
    if name.startswith("_") or not (inspect.isfunction(found) or inspect.isclass(found)) or not found.__doc__:
        return False
    return found.__module__.startswith(PACKAGE) and home in (None, found.__module__)


def directive(module: str, name: str) -> str:
    """Return the Sphinx directive that documents a function, or a class with its members."""
    found = getattr(importlib.import_module(module), name)
    if inspect.isclass(found):
        return f".. autoclass:: {module}.{name}\n   :members:\n\n"
    return f".. autofunction:: {module}.{name}\n\n"
