"""A namespace package that chooses PyTorch before Keras is imported, and lives beside the other `saliency`."""

import ast
import os
import subprocess
import sys
import venv
from pathlib import Path

import keras
import pytest

from support.selection import slow

ROOT = Path(__file__).resolve().parents[3]
SALIENCY = ROOT / "src" / "saliency"
THEIRS = {"__init__", "core", "metrics", "tf1"}  # what saliency 0.2.1 by PAIR has at its top level

only_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the package saliency explains modules of PyTorch: KERAS_BACKEND=torch"
)


def names():
    return [path.relative_to(SALIENCY) for path in SALIENCY.rglob("*") if "__pycache__" not in path.parts]


def test_no_file_is_the_other_distributions_or_hides_it():
    assert {path.parts[0].removesuffix(".py") for path in names()} & THEIRS == set()


def test_no_two_files_are_one_where_case_does_not_count():
    assert len({str(path).lower() for path in names()}) == len(names())


def test_only_one_module_imports_keras_so_that_it_can_choose_first():
    for path in SALIENCY.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        tops = {name.partition(".")[0] for name in imported}
        assert path.name == "_explainer.py" or tops <= {"torch", "typing", "saliency"}, path


def python(code, executable=sys.executable, **environment):
    """What a fresh process prints."""
    kept = {k: v for k, v in os.environ.items() if k not in ("KERAS_BACKEND", "PYTHONPATH")}
    done = subprocess.run(
        [executable, "-c", code], env={**kept, **environment}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@slow
@only_torch
def test_importing_it_chooses_pytorch(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "tensorflow"}')
    code = (
        "from saliency.fullGrad import FullGrad; import keras, saliency, saliency.fullgrad as other\n"
        "print(keras.backend.backend(), other.FullGrad is FullGrad, saliency.__file__)"
    )
    assert python(code, PYTHONPATH=str(SALIENCY.parent), KERAS_HOME=str(tmp_path)).split() == ["torch", "True", "None"]


REFUSED = """
import sys
for tries in range(2):  # Keras not imported yet, then on another backend already
    try:
        import saliency.grad
    except ImportError as error:
        print(type(error).__name__, "keras" in sys.modules, error)
"""


@slow
@only_torch
def test_another_backend_is_refused_with_the_way_out():
    pytest.importorskip("jax")
    lines = python(REFUSED, PYTHONPATH=str(SALIENCY.parent), KERAS_BACKEND="jax").splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("BackendError True") and "Keras runs on jax" in line
        assert "new process" in line and "KERAS_BACKEND=torch" in line


def pip(*arguments, what):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        offline = any(word in done.stderr for word in ("No matching distribution", "connection", "Temporary failure"))
        (pytest.skip if offline else pytest.fail)(f"{what}: {done.stderr.strip().splitlines()[-1]}")


BOTH = """
import numpy, torch
from torch import nn
from saliency.fullGrad import FullGrad
import saliency, saliency.core, saliency.fullgrad
print(saliency.__file__, saliency.fullgrad.__file__, saliency.core.__file__)

torch.manual_seed(0)
module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
x = torch.randn(1, 3, 8, 8)
leaf = x.clone().requires_grad_()
module(leaf)[0, 1].backward()
ours, _ = FullGrad(module).fullGradientDecompose(x, 1)

def gradient(images, call_model_args=None, expected_keys=None):
    found, _ = FullGrad(module).fullGradientDecompose(torch.as_tensor(images), 1)
    return {saliency.core.INPUT_OUTPUT_GRADIENTS: found.numpy()}

theirs = saliency.core.GradientSaliency().GetMask(x[0].numpy(), gradient)
print(float((ours - leaf.grad).abs().max()), float(numpy.abs(theirs - leaf.grad[0].numpy()).max()))
"""


@only_torch
@pytest.mark.very_slow
def test_both_distributions_side_by_side_from_wheels(tmp_path):
    wheels, home = tmp_path / "wheels", tmp_path / "environment"
    pip("wheel", "--no-deps", "--quiet", "--wheel-dir", str(wheels), str(ROOT), what="building our wheel")
    pip("download", "--no-deps", "--quiet", "--dest", str(wheels), "saliency==0.2.1", what="the other saliency")
    venv.create(home)
    executable = next(path for path in (home / "bin/python", home / "Scripts/python.exe") if path.exists())
    found = python("import sysconfig; print(sysconfig.get_path('purelib'))", str(executable)).strip()
    site = Path(found)
    both = [str(path) for path in wheels.glob("*.whl")]
    assert len(both) == 2
    pip("install", "--no-deps", "--no-index", "--quiet", "--target", str(site), *both, what="installing both")
    # The other packages are this environment's; a plain path runs none of its .pth files, so nothing here is editable.
    others = {str(Path(path)) for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    (site / "others.pth").write_text("\n".join(others))
    paths, gaps = python(BOTH, str(executable)).splitlines()
    assert all(path.startswith(str(site)) for path in paths.split()) and len(paths.split()) == 3
    assert max(map(float, gaps.split())) < 1e-7
