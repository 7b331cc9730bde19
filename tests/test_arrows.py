"""Who may import whom: read from the source by its syntax, so that a wrong arrow fails even where it is never run."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
ROOT = "keras_explainable"
LINES = 400

FRAMEWORKS = {"tensorflow", "jax", "torch"}
SEAM = {
    "backend.tensorflow": "tensorflow",
    "backend.jax": "jax",
    "backend.torch": "torch",
    "backend.weights_tensorflow": "tensorflow",
    "backend.weights_jax": "jax",
    "backend.weights_torch": "torch",
    "models.torch.adapter": "torch",
    "models.torch.layer_math": "torch",
    "models.torch.function_mode": "torch",
    "models.torch.hooks": "torch",
    "models.torch.checkpoints": "torch",
    "models.torch.describe": "torch",
    "loading.torch_files": "torch",  # what PyTorch saved, only PyTorch reads
    "demo.torch_network": "torch",
}

# For each room (a module or package; the longest name that fits decides) the rooms it may import. "" is the public top
# level. Everyone may import `errors`, and a package its own modules. A room without a row has no arrows yet: add one.
ARROWS = {
    "": {"*"},
    "errors": set(),
    "registry": set(),
    "filters": set(),
    "memory": set(),
    "interrupted": set(),
    "aside": set(),
    "resize": {"memory"},
    "progress": set(),
    "remarks": {"backend"},
    "random": set(),
    "arrays": {"backend"},
    "scores": {"arrays", "backend", "resize"},
    "compiling": {"models", "backend", "aside"},
    "backend": set(),
    "backend.tensorflow": {"backend.scope", "aside"},
    "backend.jax": {"backend.scope"},
    "backend.torch": {"backend.scope"},
    "backend.weights_tensorflow": set(),
    "backend.weights_jax": {"backend.scope"},
    "backend.weights_torch": {"backend.scope"},
    "models": {"backend", "resize"},
    "models.contract": set(),
    "models.leaf": set(),
    "models.inputs": {"models.contract", "models.leaf", "backend"},
    "models.layer_roles": set(),
    "models.heads": {"models.contract", "models.layer_roles"},
    "models.spatial": {"models.contract", "models.layer_roles", "models.heads"},
    "models.signal_layout": set(),
    "models.dependencies": {"models.contract", "models.layer_roles"},
    "models.tokens": {"models.contract", "models.spatial"},
    "models.probes": {"models.contract", "models.spatial", "backend"},
    "models.orders": {"models.contract", "models.spatial", "models.signal_layout", "models.probes"},
    "models.evidence": {
        "models.contract",
        "models.spatial",
        "models.signal_layout",
        "models.tokens",
        "models.probes",
        "models.orders",
    },
    "models.randomness": {
        "models.contract",
        "models.layer_roles",
        "models.front",
        "models.inputs",
        "models.probes",
        "backend",
    },
    "models.placement": {"models.contract", "models.spatial", "models.layer_roles"},
    "models.windows": {
        "backend",
        "models.placement",
        "models.probes",
        "models.front",
        "models.inputs",
        "models.signal_layout",
        "models.contract",
    },
    "models.choosing": {
        "models.windows",
        "models.probes",
        "models.evidence",
        "models.spatial",
        "models.front",
        "models.inputs",
        "models.signal_layout",
        "models.state",
        "models.contract",
        "models.tokens",
        "models.dependencies",
    },
    "models.recording": {"models.contract", "models.state"},
    "models.state": {"models.layer_roles"},
    "models.changes": set(),
    "models.weights": {"models.contract", "backend"},
    "models.processes": {"backend"},
    "models.overrides": {"models.contract", "models.layer_roles", "backend"},
    "models.linear": {"models.contract", "models.inputs", "models.overrides", "backend"},
    "models.biases": {"models.contract", "models.layer_roles", "models.spatial"},
    "models.precision": {"models.recording"},
    "models.keras.adapter": {
        "models.contract",
        "models.inputs",
        "models.layer_roles",
        "models.keras.attention",
        "models.keras.layer_math",
        "models.keras.routing",
        "models.keras.unfolding",
        "models.spatial",
        "models.precision",
        "models.recording",
        "models.state",
        "backend",
    },
    "models.keras.attention": {"models.contract"},
    "models.keras.layer_math": {"models.contract"},
    "models.keras.routing": {"models.contract", "models.keras.attention", "models.recording"},
    "models.keras.unfolding": {"models.layer_roles", "models.recording"},
    "models.torch.adapter": {
        "models.contract",
        "models.inputs",
        "models.layer_roles",
        "models.torch.describe",
        "models.torch.layer_math",
        "models.torch.function_mode",
        "models.torch.hooks",
        "models.changes",
        "models.spatial",
        "models.precision",
        "models.recording",
        "models.state",
        "backend",
    },
    "models.torch.layer_math": {"models.contract"},
    "models.torch.checkpoints": {"models.recording"},
    "models.torch.hooks": {
        "models.contract",
        "models.precision",
        "models.recording",
        "models.torch.checkpoints",
        "models.torch.layer_math",
        "models.torch.function_mode",
    },
    "models.torch.describe": {
        "models.contract",
        "models.torch.layer_math",
        "models.torch.function_mode",
        "models.torch.hooks",
    },
    "models.black_box": {"models.contract", "models.inputs", "models.recording", "backend"},
    "models.torch.function_mode": {"models.contract"},
    "loading.torch_files": {"versions"},
    "demo.torch_network": set(),
    "methods": {
        "models",
        "compiling",
        "backend",
        "filters",
        "progress",
        "remarks",
        "resize",
        "random",
        "registry",
        "memory",
        "aside",
    },
    "metrics": {"models", "backend", "filters", "resize", "random", "registry"},
    "data": {"models", "backend", "filters"},
    "running": {"data", "compiling", "models", "backend", "progress", "registry", "scores", "memory"},
    "flaws": {"models", "backend"},
    "results": {"flaws", "backend", "memory"},
    "explaining": {
        "data",
        "flaws",
        "results",
        "running",
        "compiling",
        "models",
        "backend",
        "filters",
        "remarks",
        "resize",
        "registry",
    },
    "shortcuts": {"explaining", "running", "methods", "data", "models", "registry"},
    "inspection": {"models", "backend", "filters"},
    "versions": set(),
    "loading": {"demo", "models", "versions"},
    "viz": {"versions"},
    "utils": {"viz"},
    "demo": {"", "loading", "viz", "demo.torch_network", "memory", "interrupted"},
    "dump": {"", "loading", "viz"},
    "cli": {""},
    "web": {""},
    "distributed": {""},
}
# What a longer arrow does not reach: methods see a model through `models`, never through one of its two adapters.
BARRED = {
    "methods": {"models.keras.adapter", "models.torch.adapter"},
    "metrics": {"models.keras.adapter", "models.torch.adapter"},
}
STANDARD_LIBRARY_ONLY = {"errors", "registry"}
FRONTS = {"cli", "web", "distributed"}


class Import(NamedTuple):
    """`from base import name` (or `import base`), and whether it happens when the module itself is imported."""

    line: int
    base: str
    name: str | None
    at_import: bool


def dotted(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_sources() -> dict[str, str]:
    """The source of every module of the package, by dotted name."""
    return {dotted(path): path.read_text() for path in sorted((SRC / ROOT).rglob("*.py"))}


PACKAGES = {dotted(path) for path in (SRC / ROOT).rglob("__init__.py")}


def read_imports(module: str, source: str, is_package: bool) -> list[Import]:
    found: list[Import] = []

    def visit(node: ast.AST, at_import: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if isinstance(node, ast.Import):
            found.extend(Import(node.lineno, alias.name, None, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if is_package else module.split(".")[:-1]
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.extend(Import(node.lineno, base, alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.append(Import(node.lineno, first.value, None, at_import))
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, at_import and not inside)

    visit(ast.parse(source), True)
    return found


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
    if top in FRAMEWORKS and SEAM.get(me) != top:
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
    if room in FRONTS:
        private = (found.name or "").startswith("_")
        return None if found.base == ROOT and not private else f"{room} uses the public top level only"
    allowed = ARROWS[room]
    barred = any(within(other, b) for b in BARRED.get(room, ()))
    if not barred and ("*" in allowed or any(within(other, a) for a in allowed)):
        return None
    return f"{room} may import {', '.join(a or 'the top level' for a in sorted(allowed)) or 'nothing of ours'}"


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


def test_no_file_is_two_rooms():
    long = {path.name: n for path in SRC.rglob("*.py") if (n := len(path.read_text().splitlines())) > LINES}
    assert long == {}


def test_the_face_of_the_other_library_keeps_to_public_keras():
    for path in (SRC / "saliency").rglob("*.py"):
        wrong = [f for f in read_imports(dotted(path), path.read_text(), False) if f.base.startswith("keras.src")]
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


LOADED = """
import json, sys
import keras, {framework}
before = set(sys.modules)
import keras_explainable
print(json.dumps(sorted({{m.partition(".")[0] for m in set(sys.modules) - before}})))
"""


def test_importing_the_package_loads_nothing_that_a_user_may_never_need():
    framework = os.environ.get("KERAS_BACKEND", "tensorflow")
    env = {**os.environ, "KERAS_BACKEND": framework, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", LOADED.format(framework=framework)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    extras = {"matplotlib", "PIL", "typer", "rich", "scipy", "skimage", "pandas", *FRAMEWORKS - {framework}}
    assert ROOT in json.loads(done.stdout)
    assert extras.intersection(json.loads(done.stdout)) == set()
