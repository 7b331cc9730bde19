"""The stored network names the objects, looks at them, and computes what its layers say."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from tools import train_demo as train

from keras_explainable.demo import load_mask_robust, load_model, load_scenes, load_transformer
from keras_explainable.demo.network import MASK_ROBUST_FILE, MODEL_FILE, build_model
from keras_explainable.demo.scenes import SIZE, draw_scene
from keras_explainable.errors import InputError
from support.compare import close
from support.selection import fast_on_torch, slow_compiled, very_slow_compiled

pytestmark = slow_compiled


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def singles():
    return load_scenes(300, seed=11, objects=1)


@pytest.fixture(scope="module")
def answers(model, singles):
    """Features (300, h, w, C) and logits (300, 10) of the single-object scenes."""
    inner = keras.Model(model.inputs, [model.get_layer("features").output, model.output])
    return inner.predict(singles[0], batch_size=50, verbose=0)


def test_names_single_objects(singles, answers):
    assert (answers[1].argmax(1) == singles[1].argmax(1)).mean() >= 0.95


def test_names_all_objects_of_a_scene(model):
    images, labels, _ = load_scenes(300, seed=12)
    right = (model.predict(images, batch_size=50, verbose=0) > 0) == labels
    assert right.mean() >= 0.97
    assert right.all(1).mean() >= 0.8


@fast_on_torch
def test_the_transformer_names_them_too(singles):
    transformer = load_transformer()
    named = transformer.predict(singles[0], batch_size=50, verbose=0).argmax(1)
    assert (named == singles[1].argmax(1)).mean() >= 0.95
    images, labels, _ = load_scenes(300, seed=12)
    assert ((transformer.predict(images, batch_size=50, verbose=0) > 0) == labels).mean() >= 0.97


@slow_compiled
def test_looks_at_the_object(model, singles, answers):
    """The centre of the strongest cell of the class activation map lies on the object; chance is 12 %."""
    features, _ = answers
    _, labels, masks = singles
    scene, kind = np.arange(len(labels)), labels.argmax(1)
    weights = keras.ops.convert_to_numpy(model.get_layer("logits").kernel)
    maps = np.einsum("bhwc,cb->bhw", features, weights[:, kind])
    cells = maps.shape[1]
    row, column = np.divmod(maps.reshape(len(maps), -1).argmax(1), cells)
    step = SIZE // cells
    hits = masks[scene, kind, row * step + step // 2, column * step + step // 2]
    assert masks[scene, kind].mean() < 0.2
    assert hits.mean() >= 0.85


def test_is_lost_without_the_object(model):
    """Background, specks, twigs and shadows alone do not betray the class."""
    scenes = [draw_scene(13, i, objects=1, paint=False) for i in range(150)]
    logits = model.predict(np.stack([image for image, _, _ in scenes]), batch_size=50, verbose=0)
    assert (logits.argmax(1) == [kinds[0] for _, _, kinds in scenes]).mean() < 0.3
    assert (logits > 0).any(1).mean() < 0.15


def convolve(x, kernel, stride):
    """Cross-correlation (B, H, W, C) x (k, k, C, D) with the "same" zero padding, one kernel tap at a time."""
    size, adapter = x.shape[1], kernel.shape[0]
    out = -(-size // stride)
    total = max((out - 1) * stride + adapter - size, 0)
    x = np.pad(x, ((0, 0), *[(total // 2, total - total // 2)] * 2, (0, 0)))
    span = (out - 1) * stride + 1
    return sum(
        x[:, r : r + span : stride, c : c + span : stride] @ kernel[r, c]
        for r in range(adapter)
        for c in range(adapter)
    )


def forward(model, images):
    """The network in NumPy, float64, from its weights alone."""
    weights = {w.path.removeprefix("demo/"): keras.ops.convert_to_numpy(w.value).astype("f8") for w in model.weights}

    def unit(x, name, stride=1):
        gamma, beta, mean, variance = (
            weights[f"{name}_norm/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (convolve(x, weights[f"{name}_conv/kernel"], stride) - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    x = np.maximum(unit(images / 127.5 - 1, "stem", 2), 0)
    for name, stride in [("block1", 1), ("block2", 2), ("block3", 2), ("block4", 1)]:
        short = x if stride == 1 else unit(x, f"{name}_short", stride)
        x = np.maximum(short + unit(np.maximum(unit(x, f"{name}_first", stride), 0), f"{name}_second"), 0)
    return x.mean((1, 2)) @ weights["logits/kernel"] + weights["logits/bias"]


def test_computes_what_its_layers_say(model):
    images, _, _ = load_scenes(4, seed=14)
    logits = keras.ops.convert_to_numpy(model(images))
    close(logits, forward(model, images), atol=1e-4)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(images.astype("float32"))), logits)


def test_file_holds_the_built_network_and_nothing_else(model):
    assert MODEL_FILE.stat().st_size < 1_000_000
    assert not model.compiled
    assert [layer.name for layer in model.layers] == [layer.name for layer in build_model().layers]
    assert load_model() is not load_model()


@slow_compiled
@pytest.mark.very_slow
def test_training_lowers_the_loss():
    """Eight steps leave the ln 2 of a network that knows nothing for the entropy of two classes in ten, 0.5."""
    trained = train.train(steps=8, seed=1, scenes=64)
    images, labels = train.draw_pool(32, train.FIRST_SEED + 1)
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    assert float(keras.ops.convert_to_numpy(entropy(labels.astype("f4"), trained(images, training=True)))) < 0.6


@fast_on_torch
def test_the_mask_robust_network_names_objects_of_whole_and_of_filled_scenes(model, singles):
    """On scenes with random cells filled, it is right more often than the network that it comes from."""
    robust, (images, labels, _) = load_mask_robust(), load_scenes(150, seed=12)
    assert MASK_ROBUST_FILE.stat().st_size < 1_000_000
    named = robust.predict(singles[0][:150], batch_size=50, verbose=0).argmax(1)
    assert (named == singles[1][:150].argmax(1)).mean() >= 0.95
    filled = train.fill_cells(images.astype("float32"), np.random.default_rng(1))
    right, before = ((m.predict(filled, batch_size=50, verbose=0) > 0) == labels for m in (robust, model))
    assert right.mean() > before.mean() + 0.02
    assert ((robust.predict(images, batch_size=50, verbose=0) > 0) == labels).mean() >= 0.97


def test_filled_scenes_are_filled_in_whole_cells_only():
    images = train.draw_pool(60, seed=2)[0].astype("float32")
    filled = train.fill_cells(images, np.random.default_rng(3))
    np.testing.assert_array_equal(filled, train.fill_cells(images, np.random.default_rng(3)))
    changed = (filled != images).any(-1).reshape(60, 12, train.CELL, 12, train.CELL).mean((2, 4))
    assert (changed[changed > 0] > 0.9).all()  # a filled pixel may have the value that it had
    share = (changed > 0).mean((1, 2))
    assert 5 <= (share == 0).sum() <= 25 and share.max() < 1 and share.mean() == pytest.approx(0.75 * 0.45, abs=0.08)
    flat = (filled[0] - images[0].mean((0, 1)))[np.kron(changed[0] > 0, np.ones((train.CELL,) * 2)) > 0]
    close(flat, 0, atol=1e-3)
    assert filled.min() >= images.min() and filled.max() <= images.max()


def test_training_stays_away_from_the_seeds_of_users():
    with pytest.raises(InputError, match="seed=-1"):
        train.train(steps=1, seed=-1, scenes=1)


def test_batches_turn_mirror_and_recolour_scenes_of_the_pool():
    images, labels = train.draw_pool(5, seed=2)
    np.testing.assert_array_equal(labels, load_scenes(5, seed=2)[1])
    batches = train.Batches(images, labels, steps=3, seed=9)
    assert len(batches) == 3
    batch, answers = batches[1]
    np.testing.assert_array_equal(batch, batches[1][0])
    for image, answer in zip(batch[:6], answers[:6], strict=True):
        # What no turn, mirror, or order of colours changes: the values themselves, brightened by one factor.
        values = np.sort(image.ravel())
        likeness = [np.corrcoef(values, np.sort(scene.ravel()))[0, 1] for scene in images]
        np.testing.assert_array_equal(answer, labels[int(np.argmax(likeness))])


def test_accuracies_are_shares_of_unseen_scenes(model, singles, answers):
    measured = train.accuracies(model, n=50, seed=11)
    assert measured["top1"] == pytest.approx((answers[1][:50].argmax(1) == singles[1][:50].argmax(1)).mean())
    assert measured["exact"] <= measured["labels"] <= 1


@very_slow_compiled
def test_import_is_light():
    code = "import sys, keras; known = {*sys.modules}; import keras_explainable.demo; print(*{*sys.modules} - known)"
    there = {**os.environ, "PYTHONPATH": str(MODEL_FILE.parents[2])}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=there)
    assert result.returncode == 0, result.stderr
    loaded = result.stdout.split()
    assert "keras_explainable.demo.train" not in loaded
    assert not {"matplotlib", "PIL", "rich", "typer"} & {name.split(".")[0] for name in loaded}
