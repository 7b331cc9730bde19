"""Who may import whom: read from the source by its syntax, so that a wrong arrow fails even where it is never run."""

import ast
import sys

import pytest

import keras_explainable as ke
from architecture.arrows import ARROWS, BARRED, DOORS, FRAMEWORKS, FRONTS, SEAM, STANDARD_LIBRARY_ONLY
from architecture.read_imports import PACKAGES, ROOT, SRC, TESTS, Import, dotted, read_faces, read_imports, read_sources
from support.selection import fast_on_torch

pytestmark = fast_on_torch
FACES = read_faces()


def within(name: str, room: str) -> bool:
    return name == room or (bool(room) and name.startswith(room + "."))


def room_of(name: str, rooms=ARROWS) -> str | None:
    return max((room for room in rooms if within(name, room)), key=len, default=None)


def target(found: Import, modules: set[str]) -> str | None:
    """The module of ours that an import binds or takes from, relative to the package; None for others' modules."""
    whole = f"{found.base}.{found.name}" if found.name else found.base
    name = whole if whole in modules else found.base
    return name.removeprefix(ROOT).removeprefix(".") if within(name, ROOT) else None


def foreign(me: str, found: Import) -> str | None:
    """What is wrong with an import of somebody else's module."""
    top = found.base.split(".")[0]
    if found.base.startswith("keras.src") or (found.base, found.name) == ("keras", "src"):
        return "keras.src is private"
    if top in FRAMEWORKS and SEAM.get(room_of(me, SEAM)) != top:
        return f"{top} belongs behind the seam"
    if me in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
        return f"{me} takes the standard library only"
    return None


def ours(me: str, found: Import, other: str) -> str | None:
    """What is wrong with an import of our own module `other`."""
    room = room_of(me)
    if room is None:
        return "has no row in the table of arrows"
    if within(other, "errors") or (within(other, room) and room and room == room_of(me.split(".")[0])):
        return None
    allowed = ARROWS[room]
    if room in FRONTS:
        beside = any(a and within(other, a) for a in allowed)
        return None if beside or is_public(found) else f"{room} uses public names only"
    barred = any(within(other, b) for b in BARRED.get(room, ()))
    if not barred and ("*" in allowed or any(within(other, a) for a in allowed)):
        return None
    return f"{room} may import {', '.join(a or 'the top level' for a in sorted(allowed)) or 'nothing of ours'}"


def is_public(found: Import) -> bool:
    """Whether an import takes what packages show: each part of the path is shown by the package before it."""
    parts = [*found.base.split("."), *([found.name] if found.name else [])]
    if parts[-1].startswith("_"):
        return False
    for i in range(1, len(parts)):
        face = FACES.get(".".join(parts[:i]))
        if face is None:  # a public module, whose names are public
            return True
        if parts[i] not in face:
            return False
    return True


def wrong_imports(sources: dict[str, str], packages: set[str] = frozenset()) -> list[str]:
    wrong = []
    for module, source in sources.items():
        me = module.removeprefix(ROOT).removeprefix(".")
        for found in read_imports(module, source, module in packages):
            other = target(found, set(sources))
            reason = foreign(me, found) if other is None else ours(me, found, other)
            if reason:
                wrong.append(f"{module}:{found.line} imports {found.base} {found.name or ''}: {reason}")
    return wrong


def import_cycle(sources: dict[str, str], packages: set[str] = frozenset()) -> list[str]:
    """A chain of modules that need one another while they are being imported; empty if there is none."""
    graph = {}
    for module, source in sources.items():
        targets = (target(f, set(sources)) for f in read_imports(module, source, module in packages) if f.at_import)
        graph[module] = {f"{ROOT}.{t}".rstrip(".") for t in targets if t is not None} & set(sources) - {module}
    done: set[str] = set()

    def walk(module: str, chain: list[str]) -> list[str]:
        if module in chain:
            return [*chain[chain.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph[module]):
            cycle = walk(other, [*chain, module])
            if cycle:
                return cycle
        done.add(module)
        return []

    return next((cycle for module in graph if (cycle := walk(module, []))), [])


def test_every_import_follows_the_arrows():
    assert wrong_imports(read_sources(), PACKAGES) == []


def test_no_modules_import_each_other():
    assert import_cycle(read_sources(), PACKAGES) == []


def test_no_test_imports_another():
    for path in TESTS.rglob("*.py"):
        bases = [found.base for found in read_imports("tests", path.read_text(), False)]
        assert not [base for base in bases if base.rpartition(".")[2].startswith("test_")], path


def test_the_fronts_take_public_attributes_only():
    """Also by `import keras_explainable as ke`: each `ke.name` is shown by the package, or is a method."""
    public = FACES[ROOT] | set(ke.registry.METHODS) | {"torch_compat", "__version__"}
    for path in [
        *(SRC / ROOT / "cli").glob("*.py"),
        *(SRC / ROOT / "gallery").glob("*.py"),
        *(SRC / ROOT / "web").glob("*.py"),
        *(SRC / ROOT / "distributed").rglob("*.py"),
        *(SRC / "saliency").rglob("*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ke":
                assert node.attr in public, f"{path}:{node.lineno}: ke.{node.attr}"


def test_the_face_of_the_other_library_keeps_to_public_names():
    for path in (SRC / "saliency").rglob("*.py"):
        found = read_imports(dotted(path), path.read_text(), False)
        inner = [f for f in found if within(f.base, ROOT) and (f.base, f.name) not in DOORS]
        wrong = inner + [f for f in found if f.base.startswith("keras.src")]
        assert wrong == [], path


BAD = {
    "a framework in a method": ("methods.cams.gradcam", "import torch.nn"),
    "a framework inside a function": ("explaining", "def f():\n    from jax import numpy"),
    "a framework by its name": ("filters", "import importlib\nimportlib.import_module('tensorflow')"),
    "another framework in a backend": ("backend.jax", "import torch"),
    "a framework beside the adapter": ("models.view", "import torch"),
    "private Keras": ("models.keras.adapter", "from keras.src import ops"),
    "private Keras as an attribute": ("models.keras.adapter", "from keras import src"),
    "a method that knows the loop": (
        "methods.cams.gradcam",
        "from keras_explainable.explaining.explain import explain",
    ),
    "a method that knows an adapter": (
        "methods.cams.gradcam",
        "from keras_explainable.models.keras.adapter import KerasAdapter",
    ),
    "the same, spelt otherwise": ("methods.cams.gradcam", "from ...models import torch"),
    "data that know methods": ("data", "from keras_explainable import methods"),
    "pictures that know models": ("viz.figure", "from .. import models"),
    "the loop that knows methods": ("explaining", "def f():\n    import keras_explainable.methods.cams.gradcam"),
    "NumPy in the registry": ("registry", "import numpy as np"),
    "a backend that knows models": ("backend.torch", "from keras_explainable.models.contract import Point"),
    "a front that reaches inside": ("cli", "from keras_explainable.models.keras.adapter import KerasAdapter"),
    "a front that takes a private name": ("web.app", "from keras_explainable import _steps"),
    "a front that takes what is not shown": ("web.app", "from keras_explainable import explaining"),
    "a front that takes what a package does not show": ("cli", "from keras_explainable.loading import probe"),
    "pictures that know the command line": ("gallery.gallery", "from keras_explainable import cli"),
    "adapters that know each other": (
        "models.torch.adapter",
        "from keras_explainable.models.keras.adapter import KerasAdapter",
    ),
    "a room without a row": ("novelty", "from keras_explainable import models"),
}
GOOD = {
    "a backend and its framework": (
        "backend.torch",
        "import torch\nfrom keras_explainable.backend.read_only import read_only",
    ),
    "the torch adapter": ("models.torch.adapter", "import torch\nfrom keras_explainable import backend"),
    "a method": (
        "methods.cams.gradcam",
        "from keras import ops\nfrom keras_explainable import filters, models, errors",
    ),
    "methods that share": ("methods.meta.smooth", "from .gradient import gradients"),
    "types only": ("viz.figure", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from keras.src import Any"),
    "a front": ("cli", "import keras_explainable as ke\nfrom keras_explainable import demo"),
    "a front and a module that is shown": ("cli", "from keras_explainable.viz.html_report import Row"),
    "a front and another": ("cli", "from keras_explainable.gallery import image_folder"),
    "a front of several files": ("web.app", "from keras_explainable.web.pages import page\nfrom .pages import page"),
}


def beside_the_others(module: str, source: str) -> dict[str, str]:
    names = [*ARROWS, "web.pages", "methods.gradient.gradients", "backend.scope"]
    return {ROOT: "", **{f"{ROOT}.{n}".rstrip("."): "" for n in names}, f"{ROOT}.{module}": source}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_arrow_is_seen(case):
    module, source = BAD[case]
    (wrong,) = wrong_imports(beside_the_others(module, source))
    assert wrong.startswith(f"{ROOT}.{module}:")


@pytest.mark.parametrize("case", GOOD)
def test_a_right_arrow_is_let_through(case):
    assert wrong_imports(beside_the_others(*GOOD[case])) == []


def test_a_cycle_is_seen_and_a_late_import_is_none():
    a, b = f"{ROOT}.a", f"{ROOT}.b"
    assert import_cycle({a: f"from {ROOT} import b", b: "from .a import x", ROOT: ""}) == [a, b, a]
    assert import_cycle({a: f"from {ROOT} import b", b: "def f():\n    from .a import x", ROOT: ""}) == []
