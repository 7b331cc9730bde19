"""What a framework lacks on a device is said with the setting that brings it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.selection import BACKEND, slow

PROGRAM = """
import keras, numpy as np
from keras import layers as L
import keras_explainable as ke
inputs = keras.Input((3, 8, 8))
conv = L.Conv2D(4, 3, data_format="channels_first", name="conv")(inputs)
model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D(data_format="channels_first")(conv)))
x = np.ones((2, 3, 8, 8), "float32")
try:
    model(x)
except Exception:
    for name in ("gradcam", "occlusion", "gradients"):
        try:
            ke.explain(name, model, x, 1, verbose=0)
        except ke.errors.BackendError as error:
            print(name, "refused:", error)
else:
    print("runs")
"""


@slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="other backends have channels-first convolutions everywhere")
def test_a_channels_first_model_that_cannot_run_is_told_the_variable():
    source = str(Path(__file__).resolve().parents[3] / "src")
    paths = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    plain = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=plain)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    if lines == ["runs"]:
        pytest.skip("TensorFlow has channels-first convolutions here without the variable")
    assert [line.split()[0] for line in lines] == ["gradcam", "occlusion", "gradients"]
    assert all("TF_ENABLE_ONEDNN_OPTS=1 in the environment before TensorFlow is imported" in line for line in lines)
