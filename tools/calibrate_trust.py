"""Measure how often `ke.trust` is right: `python tools/calibrate_trust.py --scenes 12 --csv trust.csv`.

Scenes of three objects are drawn again without each object. A map is right if its sums over the objects follow what the
network's score really loses (`single_deletion` of .5 or more). The table shows, for each verdict, how many maps there
are and how many of them are right; and for each check, how well it predicts this alone. Besides registered methods
there are maps that should not be supported: those of another unit, of edges, of the centre, and smooth noise.
"""

import argparse
import csv
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import ops

import keras_explainable as ke
from keras_explainable.metrics.baselines import BASELINES

METHODS = ["gradcam", "layercam", "scorecam", "eigencam", "full_gradients", "lrp_epsilon_plus", "deeplift", "occlusion"]
METHODS += ["gradients", "input_x_gradient", "integrated_gradients", "smoothgrad", "guided_backprop", "deconvnet"]
RIGHT = 0.5
NETWORKS = {"plain": ke.demo.load_model, "mask-robust": ke.demo.load_mask_robust}


def of_other_unit(model, inputs, indices, score=None):
    """Grad-CAM of the unit after the explained one, which is usually not in the scene."""
    return ke.methods.cams.gradcam(model, inputs, (indices + 1) % 10, score)


def ignorant(name):
    """A method whose maps do not depend on the model."""

    def method(model, inputs, indices, score=None):
        scores, _ = ke.methods.gradient.gradients(model, inputs, indices, score)
        images = ops.convert_to_numpy(inputs)
        return scores, ops.convert_to_tensor(BASELINES[name](images, indices.shape[1], 0, 0))

    method.__name__ = name
    return method


def rows(scenes: int, seed: int, quick: bool):
    """A row for each network, object and method: the verdict, the value of each check, and whether the map is right."""
    found = ke.demo.load_counterfactuals(scenes, seed, 3)
    masks, redrawn = found.objects()
    methods = [*METHODS, of_other_unit, *map(ignorant, ("sobel", "center_gaussian", "smooth_noise"))]
    for network, load in NETWORKS.items():
        model = load()
        for row in range(0, len(found.scene), 3):  # one object of each scene
            row += (row // 3) % 3
            part = slice(row, row + 1)
            x, y = found.images[found.scene[part]].astype("float32"), found.units[part, None]
            for method in methods:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    card = ke.trust(model, x, y, method, quick=quick)
                objects = masks[part], redrawn[part]
                truth = ke.metrics.single_deletion(model, x, y, card.map[None, ..., None], objects=objects)
                value = float(np.nan_to_num(truth.values, nan=-1)[0, 0])
                checks = {name: check.value for name, check in card.checks.items()}
                yield (
                    {"network": network, "object": row, "method": card.method, "verdict": card.verdict}
                    | checks
                    | {
                        "passed": " ".join(name for name, check in card.checks.items() if check.passed),
                        "failed": " ".join(name for name, check in card.checks.items() if check.passed is False),
                        "single_deletion": value,
                    }
                )


def main() -> None:
    """Write a line for each map, and print how often each verdict is right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--csv", type=Path, default=None)
    options = parser.parse_args()
    found = []
    for row in rows(options.scenes, options.seed, options.quick):
        found.append(row)
        if options.csv is not None:
            with options.csv.open("w", newline="") as file:
                writer = csv.DictWriter(file, row)
                writer.writeheader()
                writer.writerows(found)
    print(f"{len(found)} maps, on {keras.backend.backend()}")
    for verdict in ("supported", "undecided", "contradicted"):
        right = [row["single_deletion"] >= RIGHT for row in found if row["verdict"] == verdict]
        print(f"{verdict:<13} {len(right):>4} maps, {sum(right):>4} right ({np.mean(right) if right else 0:.0%})")
    for name in ("chance", "model", "class", "noise", "agreement", "completeness", "edges"):
        passed = [row["single_deletion"] >= RIGHT for row in found if name in row["passed"].split()]
        failed = [row["single_deletion"] >= RIGHT for row in found if name in row["failed"].split()]
        shares = [f"{np.mean(some):.0%} of {len(some)}" if some else "none" for some in (passed, failed)]
        print(f"{name:<13} passed: right {shares[0]}; failed: right {shares[1]}")


if __name__ == "__main__":
    main()
