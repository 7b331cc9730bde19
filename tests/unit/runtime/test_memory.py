"""Repetitions take time and no memory: a process of its own runs them, whose peak the kernel knows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.selection import BACKEND, very_slow_compiled

METHODS = ["smoothgrad", "integrated_gradients", "expected_gradients", "rise", "lime"]
FEW, MANY = 24, 384  # of four images, eight copies at once: three steps and 48

# What a method takes at most: how far the peak, which begins anew, rises above what is in use.
RUN = """
import json, re, sys, keras, numpy as np, keras_explainable as ke

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

L, shape = keras.layers, (160, 160, 3)
stack = [keras.Input(shape), L.Conv2D(4, 3, strides=4, activation="relu"), L.Conv2D(8, 3, strides=4, activation="relu")]
model = keras.Sequential([*stack, L.GlobalAveragePooling2D(), L.Dense(4)])
x = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
few, many = int(sys.argv[1]), int(sys.argv[2])
taken = {}
for method in sys.argv[3:]:
    taken[method] = []
    for number in (few, few, many):  # the first is compiled
        open("/proc/self/clear_refs", "w").write("5")
        before = kilobytes("VmRSS")
        ke.explain(method, model, x, 1, verbose=0, repetitions=number)
        taken[method].append((kilobytes("VmHWM") - before) / 1024)
print("megabytes", json.dumps(taken))
"""
MAP = 4 * 160 * 160 * 4 / 2**20  # megabytes, of the four images


@pytest.fixture(scope="module")
def taken():
    paths = [str(Path(__file__).resolve().parents[3] / "src"), os.environ.get("PYTHONPATH", "")]
    # What is freed goes back at once, as large blocks do.
    own = {"PYTHONPATH": os.pathsep.join(paths), "KERAS_BACKEND": BACKEND, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", RUN, str(FEW), str(MANY), *METHODS]
    run = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.split("megabytes")[1])


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak is measured by /proc")
@pytest.mark.parametrize("method", [pytest.param(m, marks=very_slow_compiled) for m in METHODS])
def test_many_repetitions_take_no_more_memory_than_few(taken, method):
    _, few, many = taken[method]
    print(f"{method}: {few:.0f} MB for {FEW} repetitions, {many:.0f} MB for {MANY}")
    # 35 of the 141 MB of the maps alone, if they were kept; two batches, which come and go, are 20 MB.
    assert many < few + 0.25 * (MANY - FEW) * MAP
