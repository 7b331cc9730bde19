"""Several devices give the maps of one: virtual ones, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

from support.selection import BACKEND, slow

ROOT = Path(__file__).resolve().parents[3]

EXPLAIN = """
METHODS = {"gradcam": {}, "full_gradients": {}, "smoothgrad": {"repetitions": 2}}
def explained(model):
    x = models.images("nested_sequential", 5)
    return [ke.explain(name, model, x, [1, 4, 0, 2, 3], batch_size=4, verbose=0, **params) for name, params in METHODS.items()]
def equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        for u, v in zip(a, b, strict=True):
            assert abs(v).max() > 0
            np.testing.assert_allclose(u, v, atol=1e-5 * abs(v).max(), rtol=0)
"""

PROGRAMS = {
    "jax": """
import jax, keras, numpy as np, keras_explainable as ke
from support import keras_models as models
from keras_explainable.backend import jax as seam
assert len(jax.devices()) == 2
expected = explained(models.build("nested_sequential"))
keras.distribution.set_distribution(keras.distribution.DataParallel())
model = models.build("nested_sequential")
assert len(seam._spread(jax.numpy.zeros((4, 20, 24, 3))).sharding.device_set) == 2
equal(explained(model), expected)
""",
    "tensorflow": """
import tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np, keras_explainable as ke
from support import keras_models as models
from keras_explainable.backend import tensorflow as seam
expected = explained(models.build("nested_sequential"))
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = models.build("nested_sequential")
assert seam.replicas.strategy(model.variables).num_replicas_in_sync == 2
equal(explained(model), expected)
seen = []
def method(model, images, indices=None):
    seen.append(images.shape[0])
    return ke.methods.cams.gradcam(model, images, indices)
ke.explain(method, model, models.images("nested_sequential", 4), 1, verbose=0)
assert set(seen) == {2}, seen  # each device has a half
""",
    "torch": """
import sys, keras, numpy as np, keras_explainable as ke, torch
from support import torch_models as nets
from torch.nn.parallel import DistributedDataParallel
def work(rank, file, results):
    torch.distributed.init_process_group("gloo", f"file://{file}", rank=rank, world_size=2)
    x = nets.images(4, channels=2)[rank::2]
    results[rank] = ke.gradcam(DistributedDataParallel(nets.drawn(nets.Sized(2))), x, [1, 4, 0, 2][rank::2], verbose=0).maps
    torch.distributed.destroy_process_group()
if __name__ == "__main__":
    results = torch.multiprocessing.Manager().dict()
    torch.multiprocessing.spawn(work, (sys.argv[1], results), 2)
    expected = ke.gradcam(nets.drawn(nets.Sized(2)), nets.images(4, channels=2), [1, 4, 0, 2], verbose=0).maps
    for rank in range(2):
        np.testing.assert_allclose(results[rank], expected[rank::2], atol=1e-6)
""",
}


@slow
def test_several_devices_give_the_maps_of_one(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(EXPLAIN + PROGRAMS[BACKEND])
    paths = os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests")))
    settings = {"PYTHONPATH": paths, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [sys.executable, file, tmp_path / "store"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
