"""The imports of every module of the package, and the names that a package shows, read from their source by its syntax."""

import ast
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
SRC = TESTS.parent / "src"
ROOT = "keras_explainable"


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


def shown(source: str) -> set[str]:
    """The names that a package shows: what its `__init__` imports or defines, without an underscore. Those of the whole
    package are in its file for type checkers."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(name.id for name in node.targets if isinstance(name, ast.Name))
    return {name for name in found if not name.startswith("_")}


def read_faces() -> dict[str, set[str]]:
    """The names that each package shows."""
    files = {path.parent: path for pattern in ("__init__.py", "__init__.pyi") for path in (SRC / ROOT).rglob(pattern)}
    return {dotted(path): shown(path.read_text()) - {"Any", "*"} for path in files.values()}
