"""Who may import whom: read from the source by its syntax, so that a wrong arrow fails even where it is never run."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
ROOT = "keras_explainable"
LINES = 400

FRAMEWORKS = {"tensorflow", "jax", "torch"}
SEAM = {
    "backend.jax": "jax",
    "backend.tensorflow": "tensorflow",
    "backend.torch": "torch",
    "backend.weights_tensorflow": "tensorflow",
    "backend.weights_torch": "torch",
    "demo.torch_network": "torch",
    "loading.torch_files": "torch",
    "models.torch.adapter": "torch",
    "models.torch.checkpoints": "torch",
    "models.torch.describe": "torch",
    "models.torch.function_mode": "torch",
    "models.torch.functional": "torch",
    "models.torch.hooks": "torch",
    "models.torch.layer_math": "torch",
}

# For each room (a module or package; the longest name that fits decides) the rooms it may import. "" is the public top
# level. Everyone may import `errors`, and a package its own modules. A room without a row has no arrows yet: add one.
ARROWS = {
    "": {"*"},
    "errors": set(),
    "registry": set(),
    "filters": set(),
    "versions": set(),
    "models": {"backend", "numerics", "runtime.memory"},
    "models.adapters": {
        "models.black_box",
        "models.contract",
        "models.front",
        "models.inputs",
        "models.keras.adapter",
        "models.keras.layer_math",
        "models.processes",
        "models.spatial",
        "models.torch.adapter",
        "models.torch.hooks",
        "models.torch.layer_math",
        "models.units",
        "models.view",
        "models.weights",
    },
    "models.addresses": {"models.contract", "models.heads", "models.spatial", "models.trace"},
    "models.biases": {"models.layer_roles", "models.spatial", "models.trace"},
    "models.black_box": {"backend", "models.contract", "models.inputs", "models.recording", "models.trace"},
    "models.changes": set(),
    "models.choosing": {
        "models.addresses",
        "models.dependencies",
        "models.evidence",
        "models.front",
        "models.inputs",
        "models.probes",
        "models.signal_layout",
        "models.spatial",
        "models.state",
        "models.tokens",
        "models.trace",
        "models.windows",
    },
    "models.contract": {"models.trace"},
    "models.dependencies": {"models.contract", "models.layer_roles", "models.trace"},
    "models.evidence": {
        "models.contract",
        "models.orders",
        "models.probes",
        "models.signal_layout",
        "models.spatial",
        "models.tokens",
        "models.trace",
    },
    "models.front": {"backend", "models.contract", "models.inputs", "models.trace", "numerics.resize"},
    "models.heads": {"models.layer_roles", "models.trace"},
    "models.inputs": {"backend", "models.leaf", "models.structures", "models.trace"},
    "models.keras": set(),
    "models.keras.adapter": {
        "backend",
        "models.addresses",
        "models.contract",
        "models.inputs",
        "models.keras.attention",
        "models.keras.layer_math",
        "models.keras.routing",
        "models.keras.unfolding",
        "models.layer_roles",
        "models.precision",
        "models.recording",
        "models.state",
        "models.structures",
        "models.trace",
    },
    "models.keras.attention": {"models.trace"},
    "models.keras.layer_math": {"models.trace"},
    "models.keras.routing": {"models.contract", "models.keras.attention", "models.recording", "models.trace"},
    "models.keras.unfolding": {"models.layer_roles", "models.recording"},
    "models.layer_roles": set(),
    "models.leaf": set(),
    "models.linear": {"backend", "models.contract", "models.inputs", "models.operations", "models.trace"},
    "models.opening": {"models.adapters", "models.view"},
    "models.operations": {"models.contract", "models.layer_roles", "models.trace"},
    "models.orders": {"models.contract", "models.probes", "models.signal_layout", "models.spatial", "models.trace"},
    "models.overrides": {"backend", "models.trace"},
    "models.placement": {"models.contract", "models.layer_roles", "models.spatial", "models.trace"},
    "models.precision": {"models.recording"},
    "models.probes": {"backend", "models.contract", "models.spatial", "models.trace"},
    "models.processes": {"backend"},
    "models.randomness": {
        "backend",
        "models.contract",
        "models.front",
        "models.inputs",
        "models.layer_roles",
        "models.probes",
        "models.trace",
    },
    "models.recording": {"models.contract", "models.state", "models.trace"},
    "models.scored": {
        "models.addresses",
        "models.contract",
        "models.heads",
        "models.structures",
        "models.trace",
        "models.units",
    },
    "models.signal_layout": {"models.trace"},
    "models.spatial": {"models.trace"},
    "models.state": {"models.layer_roles"},
    "models.structures": {"models.leaf"},
    "models.tokens": {"models.spatial", "models.trace"},
    "models.torch": set(),
    "models.torch.adapter": {
        "backend",
        "models.addresses",
        "models.changes",
        "models.contract",
        "models.inputs",
        "models.layer_roles",
        "models.precision",
        "models.recording",
        "models.state",
        "models.structures",
        "models.torch.describe",
        "models.torch.function_mode",
        "models.torch.functional",
        "models.torch.hooks",
        "models.torch.layer_math",
        "models.trace",
    },
    "models.torch.checkpoints": {"models.recording"},
    "models.torch.describe": {
        "models.torch.function_mode",
        "models.torch.hooks",
        "models.torch.layer_math",
        "models.trace",
    },
    "models.torch.function_mode": {"models.torch.functional", "models.trace"},
    "models.torch.functional": set(),
    "models.torch.hooks": {
        "models.contract",
        "models.precision",
        "models.recording",
        "models.torch.checkpoints",
        "models.torch.function_mode",
        "models.torch.layer_math",
        "models.trace",
    },
    "models.torch.layer_math": {"models.trace"},
    "models.trace": set(),
    "models.units": {"backend"},
    "models.view": {
        "backend",
        "models.addresses",
        "models.biases",
        "models.black_box",
        "models.choosing",
        "models.contract",
        "models.evidence",
        "models.front",
        "models.linear",
        "models.operations",
        "models.overrides",
        "models.scored",
        "models.signal_layout",
        "models.spatial",
        "models.tokens",
        "models.trace",
        "models.windows",
    },
    "models.weights": {"backend", "models.contract"},
    "models.windows": {
        "backend",
        "models.front",
        "models.inputs",
        "models.placement",
        "models.probes",
        "models.signal_layout",
        "models.trace",
    },
    "data": {"backend", "filters", "models"},
    "data.arrays": {"models"},
    "data.batches": {"backend", "data.arrays", "data.checks", "data.prefetch", "models"},
    "data.checks": {"data.arrays", "models"},
    "data.prefetch": set(),
    "explaining": {"backend", "data", "filters", "models", "registry", "runtime"},
    "explaining.about": {
        "explaining.blame",
        "explaining.flaws",
        "explaining.frugal",
        "models",
        "registry",
        "runtime.remarks",
    },
    "explaining.arguments": {"data", "models", "registry"},
    "explaining.blame": set(),
    "explaining.checks": {"backend", "data", "explaining.blame", "explaining.frugal", "models", "runtime.memory"},
    "explaining.explain": {
        "backend",
        "explaining.about",
        "explaining.arguments",
        "explaining.blame",
        "explaining.checks",
        "explaining.flaws",
        "explaining.loop",
        "explaining.results",
        "models",
        "registry",
        "runtime.compile_cache",
        "runtime.remarks",
    },
    "explaining.flaws": {"backend", "models"},
    "explaining.frugal": {"backend", "data", "explaining.blame", "models", "runtime.compile_cache"},
    "explaining.loop": {
        "backend",
        "data",
        "explaining.checks",
        "explaining.frugal",
        "models",
        "registry",
        "runtime.compile_cache",
        "runtime.progress",
        "scores",
    },
    "explaining.results": {"backend", "explaining.flaws", "runtime.memory"},
    "backend": set(),
    "backend.jax": {"backend.read_only"},
    "backend.read_only": set(),
    "backend.selection": set(),
    "backend.tensorflow": {"runtime.interruptible"},
    "backend.torch": {"backend.read_only"},
    "backend.weights_jax": {"backend.read_only"},
    "backend.weights_tensorflow": set(),
    "backend.weights_torch": {"backend.read_only"},
    "runtime": set(),
    "runtime.compile_cache": {"backend", "models", "runtime.interruptible"},
    "runtime.ctrl_c": set(),
    "runtime.interruptible": set(),
    "runtime.memory": set(),
    "runtime.progress": set(),
    "runtime.remarks": {"backend"},
    "numerics": set(),
    "numerics.arithmetic": set(),
    "numerics.arrays": {"backend"},
    "numerics.blur": set(),
    "numerics.random": set(),
    "numerics.resize": {"runtime.memory"},
    "scores": {"backend", "numerics"},
    "methods": {"backend", "filters", "models", "numerics", "registry", "runtime"},
    "metrics": {"backend", "filters", "models", "numerics", "registry"},
    "torch_compat": {"data", "explaining", "methods", "models", "numerics"},
    "shortcuts": {"data", "explaining", "methods", "models", "registry", "runtime"},
    "inspection": {"backend", "filters", "models"},
    "loading": {"demo", "models", "versions"},
    "viz": {"versions"},
    "utils": {"viz"},
    "demo": {"", "numerics", "runtime"},
    "gallery": {"", "loading", "viz"},
    "cli": {""},
    "web": {""},
    "distributed": {""},
}
# What a longer arrow does not reach: methods see a model through `models`, never through one of its two adapters.
BARRED = {
    "methods": {"models.keras", "models.torch"},
    "metrics": {"models.keras", "models.torch"},
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
