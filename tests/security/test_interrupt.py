"""Ctrl-C is heard: in processes of their own, which get the signal in the midst of something long."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.selection import BACKEND, crossed, slow, very_slow_compiled

pytestmark = [slow, pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")]
SRC = str(Path(__file__).resolve().parents[2] / "src")
SOON = 5  # seconds: all of which another process may take on this machine
BEGIN = """
import os, sys, time, warnings
import numpy as np, keras, keras_explainable as ke
warnings.simplefilter("ignore")
L = keras.layers

def net(units=4):
    layers = [L.Conv2D(16, 3, activation="relu") for _ in range(3)]
    return keras.Sequential([keras.Input((64, 64, 3)), *layers, L.GlobalAveragePooling2D(), L.Dense(units)])

def wide():
    layers = [L.Conv2D(64, 3, padding="same", activation="relu") for _ in range(6)]
    return keras.Sequential([keras.Input((128, 128, 3)), *layers, L.GlobalAveragePooling2D(), L.Dense(4)])

big = np.random.default_rng(0).random((64, 128, 128, 3), "float32")
x = np.random.default_rng(0).random((8, 64, 64, 3)).astype("float32")
print("ready", flush=True)
try:
    %s
    print("done", flush=True)
except KeyboardInterrupt:
    print("heard", flush=True)
os._exit(0)
"""
LONG = {  # a call, and after how many seconds it is in the midst of what is longest
    "many repetitions": ("ke.smoothgrad(net(), x, 0, repetitions=10**6, verbose=0)", 3),
    "long repetitions": ("ke.smoothgrad(wide(), big, 0, batch_size=64, repetitions=20, verbose=0)", 12),
    "one program of many units": ("ke.gradients(net(2000), x, None, verbose=0)", 8),
    "many segments": ("ke.kernel_shap(net(), x, 0, segments=45, repetitions=10**5, verbose=0)", 4),
    "many scenes": ("ke.demo.load_scenes(50_000)", 1),
}
COMPILED = ("long repetitions", "one program of many units")


def started(*arguments):
    env = os.environ | {"KERAS_BACKEND": BACKEND, "PYTHONPATH": SRC}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *arguments], env=env, stdout=pipe, stderr=pipe, text=True, preexec_fn=as_from_a_terminal
    )


def as_from_a_terminal():
    """What a shell runs in the background ignores the signal, and so does what that starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stopped(process):
    """Seconds until a process ends that gets the signal now, and what it has written."""
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return time.perf_counter() - start, out, err


@pytest.mark.parametrize(
    "name", [*COMPILED, *(pytest.param(n, marks=very_slow_compiled) for n in LONG if n not in COMPILED)]
)
def test_a_long_call_hears_it(name):
    call, seconds = LONG[name]
    process = started("-c", BEGIN % call)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    time.sleep(seconds)
    took, out, err = stopped(process)
    assert out.split() == ["heard"], err
    assert took < SOON


@pytest.mark.parametrize(
    ("seconds", "module"), crossed([1.0, 0.3, 2.5], ["keras_explainable.cli", "keras_explainable.gallery"], torch=slow)
)
def test_a_command_that_is_being_imported_ends_without_a_traceback(module, seconds, tmp_path):
    words = {"keras_explainable.cli": ["demo"], "keras_explainable.gallery": []}[module]
    process = started("-m", module, *words, "--out", str(tmp_path))
    time.sleep(seconds)
    took, out, err = stopped(process)
    # The signal itself, which shells call 130; or, where it was late, our own exit.
    assert process.returncode in (-signal.SIGINT, 130) and took < SOON
    assert "Traceback" not in err and "KeyboardInterrupt" not in err and not out


@very_slow_compiled
def test_a_command_at_work_ends_with_130(tmp_path):
    pytest.importorskip("typer", reason="the command line needs typer")
    begin = 'import sys; sys.argv = ["/bin/keras-explainable", "demo", "--out", sys.argv[1]]; '
    begin += 'from keras_explainable.cli import main; import keras; print("ready", flush=True); main()'
    process = started("-c", begin, str(tmp_path))
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    time.sleep(4)
    took, _, err = stopped(process)
    assert process.returncode == 130 and "Traceback" not in err
    assert took < SOON


@very_slow_compiled
def test_a_process_of_the_user_hears_as_it_did():
    code = "import signal, keras_explainable; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    assert started("-c", code).wait(120) == 0
