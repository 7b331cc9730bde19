"""What `import keras_explainable` loads."""

import json
import os
import subprocess
import sys

from architecture.arrows import FRAMEWORKS
from architecture.read_imports import ROOT, SRC
from support.selection import slow

LOADED = """
import json, sys
import keras, {framework}
before = set(sys.modules)
import keras_explainable
print(json.dumps(sorted({{m.partition(".")[0] for m in set(sys.modules) - before}})))
"""


@slow
def test_importing_the_package_loads_nothing_that_a_user_may_never_need():
    framework = os.environ.get("KERAS_BACKEND", "tensorflow")
    env = {**os.environ, "KERAS_BACKEND": framework, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", LOADED.format(framework=framework)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    extras = {"matplotlib", "PIL", "typer", "rich", "scipy", "skimage", "pandas", *FRAMEWORKS - {framework}}
    assert ROOT in json.loads(done.stdout)
    assert extras.intersection(json.loads(done.stdout)) == set()
