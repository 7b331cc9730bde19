"""What `import keras_explainable` loads, and what its names load when they are first used."""

import ast
import json
import os
import subprocess
import sys

import pytest

from architecture.arrows import FRAMEWORKS
from architecture.read_imports import ROOT, SRC, read_faces, shown
from support.selection import slow

FRAMEWORK = os.environ.get("KERAS_BACKEND", "tensorflow")
STORAGE = {"ray", "zarr", "pyarrow", "fsspec"}
NEVER = {"matplotlib", "PIL", "typer", "rich", "scipy", "skimage", "pandas", *STORAGE, *FRAMEWORKS - {FRAMEWORK}}
ALONE = """
import json, sys
before = set(sys.modules)
import keras_explainable
keras_explainable.__version__, keras_explainable.errors
print(json.dumps([sorted({*sys.modules} - before), sorted(vars(keras_explainable))]))
"""
WHOLE = """
import json, sys
import keras, {framework}
before = set(sys.modules)
import keras_explainable as ke
from keras_explainable import *
ke.gradcam
print(json.dumps([sorted({{m.partition(".")[0] for m in set(sys.modules) - before}}), sorted(globals())]))
"""
FRONT = """
import sys
from keras_explainable import distributed
distributed.explain, distributed.open, distributed.status
print(sorted({module.partition(".")[0] for module in sys.modules}))
"""
# What reads the images for workers on GPUs, and what reads the output of a run.
READERS = """
import sys
from keras_explainable.distributed import maps, reading, summary
from keras_explainable.distributed.engines import ray
print(sorted({module.partition(".")[0] for module in sys.modules}))
"""
EACH_FIRST = """
import importlib, sys
import keras
for name in {names}:
    for module in [module for module in sys.modules if module.partition(".")[0] == "{root}"]:
        del sys.modules[module]
    package = importlib.import_module("{root}")
    assert name in dir(package), name
    found = getattr(package, name)
    assert found is getattr(package, name) and len(package.registry.METHODS) > 40, name
"""
OTHERS = """
import sys
import keras, {framework}
import keras_explainable as ke
model, (images, _, _) = ke.demo.load_transformer(), ke.demo.load_scenes(1)
before = set(sys.modules)
for name in ("gradcam", "attnlrp", "gradient_attention_rollout"):
    ke.explain(name, model, images, 1, verbose=0)
print(sorted({others} & {{m.partition(".")[0] for m in set(sys.modules) - before}}))
"""


def printed(code):
    env = {**os.environ, "KERAS_BACKEND": FRAMEWORK, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_only_the_standard_library():
    loaded, names = json.loads(printed(ALONE))
    assert {module.partition(".")[0] for module in loaded} <= {ROOT, *sys.stdlib_module_names}
    ours = {module.removeprefix(f"{ROOT}.") for module in loaded if module.startswith(ROOT)}
    assert ours == {ROOT, "errors", "public_names", "runtime", "runtime.ctrl_c", "runtime.selection"}
    assert {"gradcam", "explain", "viz"}.isdisjoint(names)


def test_runs_over_many_images_load_what_they_need_when_they_are_called():
    assert {"keras", "numpy", *STORAGE, FRAMEWORK}.isdisjoint(ast.literal_eval(printed(FRONT)))


def test_what_reads_images_and_maps_loads_neither_keras_nor_ray():
    pytest.importorskip("pyarrow")
    assert {"keras", "ray", "zarr", *FRAMEWORKS}.isdisjoint(ast.literal_eval(printed(READERS)))


@slow
def test_using_the_package_loads_nothing_that_a_user_may_never_need():
    loaded, names = json.loads(printed(WHOLE.format(framework=FRAMEWORK)))
    assert ROOT in loaded and NEVER.isdisjoint(loaded)
    assert read_faces()[ROOT] <= {*names}


@slow
def test_each_name_can_be_the_first_that_is_used():
    listed = shown((SRC / ROOT / "__init__.pyi").read_text()) - {"Any", "*", "ctrl_c"}  # of the command line
    printed(EACH_FIRST.format(names=sorted({*listed, "gradcam"}), root=ROOT))


@slow
def test_explaining_a_transformer_imports_no_other_framework():
    others = FRAMEWORKS - {FRAMEWORK}
    assert printed(OTHERS.format(framework=FRAMEWORK, others=others)).strip() == "[]"
