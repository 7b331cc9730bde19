"""Repetitions take time and no memory: each run is a process of its own, whose peak the kernel knows."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

RUN = """
import re, sys, keras, numpy as np, keras_explainable as ke

L, shape = keras.layers, (256, 256, 3)
stack = [keras.Input(shape), L.Conv2D(8, 3, activation="relu"), L.Conv2D(8, 3, strides=4, activation="relu")]
model = keras.Sequential([*stack, L.GlobalAveragePooling2D(), L.Dense(4)])
x = np.random.default_rng(0).normal(size=(6, *shape)).astype("float32")
ke.smoothgrad(model, x, 1, verbose=0, repetitions=2)  # compiled
before = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
ke.smoothgrad(model, x, 1, verbose=0, repetitions=int(sys.argv[1]))
after = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print("megabytes", before / 1024, after / 1024)
"""
NOISY_IMAGES = 6 * 256 * 256 * 3 * 4 / 2**20  # megabytes


def peaks(repetitions):
    paths = [str(Path(__file__).resolve().parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "KERAS_BACKEND": keras.backend.backend()}
    run = subprocess.run(
        [sys.executable, "-c", RUN, str(repetitions)], env=env, capture_output=True, text=True, check=True
    )
    before, after = map(float, run.stdout.split("megabytes")[1].split())
    print(f"{repetitions} repetitions: {before:.0f} MB, then {after:.0f} MB")
    return after - before


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_fifty_repetitions_take_no_more_memory_than_five():
    few, many = peaks(5), peaks(50)
    assert many < few + 8 * NOISY_IMAGES  # of the 45 more that were drawn
