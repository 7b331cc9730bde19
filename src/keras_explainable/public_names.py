"""The public names of `keras_explainable`. Modules are imported when they are first used, because importing Keras and
its framework takes seconds."""

import ast
import pkgutil
import sys
from functools import cache
from importlib import import_module
from typing import Any

PACKAGE = "keras_explainable"


@cache
def modules() -> frozenset[str]:
    """The names of the modules in the package."""
    return frozenset(module.name for module in pkgutil.iter_modules(sys.modules[PACKAGE].__path__))


@cache
def homes() -> dict[str, str]:
    """The public names of the package, and the modules that define them, read from the stub file for type checkers."""
    stub = ast.parse(pkgutil.get_data(PACKAGE, "__init__.pyi") or b"")
    return {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module != "typing"
        for alias in node.names
        if alias.name != "*"  # the shortcuts of methods, which are made when they are used
    }


def method_names() -> list[str]:
    """The names of the methods of this library, read from a file, because the registry would import Keras."""
    stub = ast.parse(pkgutil.get_data(PACKAGE, "method_shortcuts.pyi") or b"")
    return [node.name for node in stub.body if isinstance(node, ast.FunctionDef)]


def __getattr__(name: str) -> Any:
    """A module, a public name of the package, or the shortcut of a registered method, such as `ke.gradcam`."""
    if name == "__all__":  # of `from keras_explainable import *`
        return list(homes())
    if name.startswith("__"):  # Python asks for names that are not there
        raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")
    if name in modules():
        return import_module(f"{PACKAGE}.{name}")
    if name not in homes():
        from keras_explainable import shortcuts

        return shortcuts.of_method(name)
    found = getattr(import_module(homes()[name]), name)
    setattr(sys.modules[PACKAGE], name, found)
    return found


def __dir__() -> list[str]:
    from keras_explainable import registry

    return sorted({*homes(), *registry.METHODS, "__version__"} - {"ctrl_c"})
