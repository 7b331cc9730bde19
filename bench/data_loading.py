"""`python -m bench.data_loading`: images per second of `ke.explain` on JPEG files and on images in memory."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import keras_explainable as ke  # first: it chooses the backend

import numpy as np  # isort: skip
from PIL import Image  # isort: skip

from bench import networks  # isort: skip


def batches(files, batch):
    """Yield the images of the files in batches, as a user would read them."""
    for start in range(0, len(files), batch):
        yield np.stack([np.asarray(Image.open(file), "float32") / 255 for file in files[start : start + batch]])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.data_loading", description=__doc__)
    parser.add_argument("--network", default="ResNet50")
    parser.add_argument("--method", default="gradcam")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    model = networks.keras_model(args.network, 224)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.jpg" for i in range(args.images)]
        for file in files:
            small = rng.integers(0, 255, (14, 14, 3), "uint8")
            Image.fromarray(small).resize((224, 224), Image.Resampling.BICUBIC).save(file, quality=90)
        x = next(batches(files, args.batch))
        score = ke.scores.unit(3)

        def step():
            return ke.explain(args.method, model, x, score=score, verbose=0, batch_size=args.batch)

        def whole():
            source = batches(files, args.batch)
            return ke.explain(args.method, model, source, score=score, verbose=0, steps=-(-args.images // args.batch))

        step()
        shares = []
        for _ in range(args.rounds):
            times = []
            for _ in range(4):
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
            rate = args.batch / statistics.median(times)
            start = time.perf_counter()
            whole()
            reached = args.images / (time.perf_counter() - start)
            shares.append(reached / rate)
            print(f"{reached:.2f} images/s from files, {rate:.2f} images/s in memory: ratio {shares[-1]:.2f}")
    print(f"median ratio {statistics.median(shares):.2f} (target: at least 0.95)")


if __name__ == "__main__":
    main()
