"""A process that was forked from one that had explained hangs in its framework: it is told, in no time, what to do."""

import os
import subprocess
import sys
import textwrap

import pytest

from support.selection import BACKEND, slow, very_slow_compiled

pytestmark = [slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")]
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="of PyTorch")

MODEL = """
import multiprocessing, os, warnings
import keras, numpy as np
import keras_explainable as ke
from keras_explainable.errors import BackendError

warnings.simplefilter("ignore")

def model():
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(),
                             keras.layers.Dense(3)])

X = np.ones((2, 8, 8, 3), "float32")
"""


def run(tmp_path, body, seconds=90):
    """What a script prints, whose process group is killed when it takes too long."""
    script = tmp_path / "script.py"
    script.write_text(MODEL + textwrap.dedent(body))
    command = ["timeout", "-k", "5", str(seconds), sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


CALLS = [
    "ke.gradcam(net, X, 1, verbose=0)",
    "ke.inspection.signals(net, X)",
    "ke.demo.load_model()",
    "__import__('keras_explainable.loading').loading.load(ke.demo.network.MODEL_FILE)",
]


@pytest.mark.parametrize("call", [CALLS[0], *(pytest.param(call, marks=very_slow_compiled) for call in CALLS[1:])])
def test_a_forked_child_is_told(tmp_path, call):
    body = f"""
        net = model()
        ke.gradients(net, X, 1, verbose=0)
        child = os.fork()
        if not child:
            try:
                {call}
            except BackendError as error:
                print(error, flush=True)
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        {call}
        print("and the parent goes on")
    """
    said = run(tmp_path, body)
    assert 'multiprocessing.get_context("spawn")' in said
    assert said.rstrip().endswith("and the parent goes on")


@very_slow_compiled
def test_a_forked_pool_is_told(tmp_path):
    body = """
        net = model()

        def explain(i):
            try:
                return len(ke.gradcam(net, X, i, verbose=0))
            except BackendError as error:
                return str(error)

        explain(0)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            for said in pool.map(explain, range(3)):
                assert "spawn" in said
        print("done")
    """
    assert "done" in run(tmp_path, body)


def test_spawned_processes_explain(tmp_path):
    body = """
        def explain(i):
            return ke.gradcam(model(), X, i, verbose=0).maps.shape

        if __name__ == "__main__":
            explain(0)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(explain, range(2)))
    """
    assert "[(2, 8, 8, 1), (2, 8, 8, 1)]" in run(tmp_path, body)


@on_torch
def test_workers_that_load_images_may_be_forked(tmp_path):
    body = """
        import torch

        class Images(torch.utils.data.Dataset):
            def __len__(self):
                return 6

            def __getitem__(self, i):
                return X[0], int(os.getpid() != parent)

        parent, net = os.getpid(), model()
        ke.gradients(net, X, 1, verbose=0)
        loader = torch.utils.data.DataLoader(Images(), batch_size=2, num_workers=2, multiprocessing_context="fork")
        scores, maps = ke.gradcam(net, loader, verbose=0)
        wanted = ke.gradcam(net, X[:1], 1, verbose=0)  # the unit that only a worker names
        print(maps.shape, abs(scores - wanted.scores).max() < 1e-5)
    """
    assert "(6, 8, 8, 1) True" in run(tmp_path, body)
