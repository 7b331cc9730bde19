"""Train the demo networks from scratch: `python tools/train_demo.py`.

Then train the two that build on it: `--transformer`, and `--mask-robust --steps 1000`.
On two cores with TensorFlow, the network takes about ten minutes, the transformer's encoder a few, and the
mask-robust network about five. Any backend works.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np

from keras_explainable.demo.network import (
    MASK_ROBUST_FILE,
    MODEL_FILE,
    TRANSFORMER_FILE,
    build_encoder,
    build_model,
    load_model,
    load_transformer,
)
from keras_explainable.demo.scenes import draw_scene
from keras_explainable.demo.shapes import CLASSES
from keras_explainable.errors import InputError
from keras_explainable.numerics.blur import blur

BATCH = 64
CELL = 8  # pixels along the side of a cell that is filled or not
# Training draws its scenes from this seed upwards, so that `load_scenes` with a smaller seed draws unseen ones.
FIRST_SEED = 1_000_000


def draw_pool(n: int, seed: int, objects: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draw images (n, 96, 96, 3) uint8 and labels (n, 10) int8 of n scenes, without masks."""
    labels = np.zeros((n, len(CLASSES)), np.int8)
    images = []
    for i in range(n):
        image, _, kinds = draw_scene(seed, i, objects)
        images.append(image)
        labels[i, kinds] = 1
    return np.stack(images), labels


class Batches(keras.utils.PyDataset):
    """Random batches from a pool of scenes, each randomly mirrored, rotated and recoloured."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, steps: int, seed: int):
        super().__init__()
        self.images, self.labels, self.steps, self.seed = images, labels, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.integers(len(self.images), size=BATCH)
        batch = self.images[chosen].astype("float32")
        batch = np.rot90(batch, int(rng.integers(4)), axes=(1, 2))[:, :, :: rng.choice([-1, 1])]
        batch = batch[..., rng.permutation(3)] * rng.uniform(0.8, 1.1, (BATCH, 1, 1, 1))
        return np.clip(batch, 0, 255).astype("float32"), self.labels[chosen].astype("float32")


class FilledBatches(Batches):
    """`Batches` of images of which a random share of cells is filled, from none to nine tenths, in random places.

    A cell is filled with its image's mean colour, with noise over its range, or with its blurred image, as in metrics.
    A quarter of the images stay whole.
    """

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = super().__getitem__(step)
        return fill_cells(images, np.random.default_rng([self.seed, step, 1])), labels


def fill_cells(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fill a random share of the cells of each image (B, H, W, 3): with its mean in the first third of the images, with
    noise in the second, and with its blurred image in the last."""
    number, size, _, _ = images.shape
    axes = (1, 2)
    share = rng.uniform(0, 0.9, (number, 1, 1)) * (rng.random((number, 1, 1)) < 0.75)
    cells = rng.random((number, size // CELL, size // CELL)) < share
    masks = cells.repeat(CELL, 1).repeat(CELL, 2)[..., None]
    flat, noisy, soft = np.array_split(images, 3)
    low, high = (f(noisy, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    noise = low + (high - low) * rng.random(noisy.shape, dtype=np.float32)
    blurred = keras.ops.convert_to_numpy(blur(keras.ops.convert_to_tensor(soft), size / 22, axes)[0])
    mean = np.broadcast_to(flat.mean(axes, keepdims=True), flat.shape)
    return np.where(masks, np.concatenate([mean, noise, blurred]), images)


def train(steps: int, seed: int, scenes: int) -> keras.Model:
    """Minimise the binary cross entropy of the logits over `steps` batches of a pool of `scenes`."""
    if seed < 0:
        raise InputError(f"seed={seed} came, and 0 or more was expected: smaller seeds would draw the unseen scenes.")
    keras.utils.set_random_seed(seed)
    model = build_model()
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, decay_steps=steps - steps // 20, warmup_target=4e-3, warmup_steps=steps // 20
    )
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), keras.losses.BinaryCrossentropy(from_logits=True))
    epochs = max(1, steps // 250)
    pool = Batches(*draw_pool(scenes, FIRST_SEED + seed), steps, seed)
    model.fit(pool, epochs=epochs, steps_per_epoch=steps // epochs, shuffle=False, verbose=2)
    return model


def train_encoder(steps: int, seed: int, scenes: int) -> keras.Model:
    """Train the transformer's encoder on the last maps of the trained network, which is not changed."""
    keras.utils.set_random_seed(seed)
    images, labels = draw_pool(scenes, FIRST_SEED + seed)
    network = load_model()
    maps = keras.Model(network.input, network.get_layer("features").output).predict(images, BATCH, verbose=2)
    encoder = build_encoder(maps.shape[1:])
    rate = keras.optimizers.schedules.CosineDecay(1e-4, decay_steps=steps, warmup_target=2e-3, warmup_steps=steps // 10)
    encoder.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), keras.losses.BinaryCrossentropy(from_logits=True))
    encoder.fit(maps, labels, BATCH, epochs=max(1, steps * BATCH // scenes), verbose=2)
    return encoder


def train_mask_robust(steps: int, seed: int, scenes: int) -> keras.Model:
    """Train the saved network further on partly filled scenes, so that it has seen images like those that metrics make.

    Which cells are filled depends on no explanation, as in F-Fidelity, so no method is favoured.
    """
    keras.utils.set_random_seed(seed)
    model = load_model()
    rate = keras.optimizers.schedules.CosineDecay(1e-4, decay_steps=steps, warmup_target=2e-3, warmup_steps=steps // 20)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), keras.losses.BinaryCrossentropy(from_logits=True))
    pool = FilledBatches(*draw_pool(scenes, FIRST_SEED + seed), steps, seed)
    model.fit(pool, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=2)
    return model


def accuracies(model: keras.Model, n: int = 1000, seed: int = 0) -> dict[str, float]:
    """Measure the network on `n` unseen scenes of each kind.

    `top1` is the share of single-object scenes whose largest logit is the object's. On scenes with one to three
    objects, `labels` is the share of right labels (logit > 0), and `exact` the share of scenes with all labels right.
    """
    images, labels = draw_pool(n, seed, objects=1)
    top1 = model.predict(images, BATCH, verbose=0).argmax(1) == labels.argmax(1)
    images, labels = draw_pool(n, seed + 1)
    right = (model.predict(images, BATCH, verbose=0) > 0) == labels
    return {"top1": float(top1.mean()), "labels": float(right.mean()), "exact": float(right.all(1).mean())}


def main() -> None:
    """Train and save the network without its optimizer, and print its accuracies."""
    parser = argparse.ArgumentParser(description="Train the demo network from scratch and measure it.")
    parser.add_argument("--steps", type=int, default=4000, help=f"batches of {BATCH} scenes")
    parser.add_argument("--scenes", type=int, default=16000, help="scenes to draw the batches from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=MODEL_FILE)
    parser.add_argument(
        "--transformer", action="store_true", help="train the transformer's encoder on the saved network"
    )
    parser.add_argument(
        "--mask-robust", action="store_true", help="train the saved network further on partly filled scenes"
    )
    options = parser.parse_args()
    # A freshly built network is saved, so that the file has no optimizer state.
    if options.transformer:
        encoder = train_encoder(options.steps, options.seed, options.scenes)
        bare = build_encoder(encoder.input_shape[1:])
        bare.set_weights(encoder.get_weights())
        bare.save_weights(TRANSFORMER_FILE)
        report(load_transformer())
        return
    if options.mask_robust:
        bare = load_model()
        bare.set_weights(train_mask_robust(options.steps, options.seed, options.scenes).get_weights())
        bare.save_weights(MASK_ROBUST_FILE)
        report(bare)
        return
    model = train(options.steps, options.seed, options.scenes)
    bare = build_model()
    bare.set_weights(model.get_weights())
    bare.save(options.out)
    report(bare)


def report(model: keras.Model) -> None:
    """Print a network's accuracies."""
    for name, value in accuracies(model).items():
        print(f"{name:>6} {value:.3f}")


if __name__ == "__main__":
    main()
