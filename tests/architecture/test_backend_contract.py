"""The three backends say the same: equal public functions, equal signatures, each file short."""

import ast
from pathlib import Path

import pytest

BACKEND = Path(__file__).resolve().parents[2] / "src" / "keras_explainable" / "backend"
NAMES = ("tensorflow", "jax", "torch")
LINES = 200


def signatures(source: str) -> dict[str, str]:
    """Each public function of a module with its arguments and their defaults, without annotations."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
            found[node.name] = f"({ast.unparse(node.args)})"
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found[node.name] = str(signatures("\n".join(ast.unparse(part) for part in node.body)))
    return found


def read(name: str) -> str:
    return (BACKEND / f"{name}.py").read_text()


@pytest.mark.parametrize("name", NAMES[1:])
def test_backends_have_the_same_functions(name):
    assert signatures(read(name)) == signatures(read(NAMES[0]))
    for part in ("tails", "weights"):
        assert signatures(read(f"{part}_{name}")) == signatures(read(f"{part}_{NAMES[0]}")) != {}


@pytest.mark.parametrize("name", NAMES)
def test_all_that_the_package_binds_is_there(name):
    bound = {
        node.attr
        for node in ast.walk(ast.parse(read("__init__")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_module"
    }
    assert bound == set(signatures(read(name)))


@pytest.mark.parametrize("name", NAMES)
def test_backends_stay_small(name):
    assert len(read(name).splitlines()) <= LINES


def test_a_difference_is_seen():
    one = signatures("def f(x: int, *, seed=None) -> str: ...\ndef _hidden(): ...")
    assert one == signatures("@decorated\ndef f(x, *, seed: int = None): ...")
    assert one != signatures("def f(x, *, seed=0): ...")
    assert one != signatures("def f(x, seed=None): ...")
    assert one != signatures("def f(x, *, seed=None): ...\ndef g(): ...")
    assert signatures("class A:\n    def f(self, a): ...") != signatures("class A:\n    def f(self, b): ...")
