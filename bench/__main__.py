"""`python -m bench`: what each method costs, as a ratio to the bare forward or gradient pass, in one run."""

import argparse
import statistics

import keras_explainable as ke  # first: it chooses the backend

import keras  # isort: skip
import numpy as np  # isort: skip

from bench.floors import floors  # isort: skip
from bench.measure import alternate, ratio  # isort: skip

ROWS = {
    "gradcam": "forward",
    "cam": "forward",
    "gradcampp": "forward",
    "gradients": "gradient",
    "full_gradients": "gradient",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--network", default="ResNet50", help="a name of keras.applications")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--methods", nargs="*", default=list(ROWS), choices=list(ROWS))
    args = parser.parse_args()

    shape = (args.size, args.size, 3)
    model = getattr(keras.applications, args.network)(weights=None, input_shape=shape, classifier_activation=None)
    rng = np.random.default_rng(0)
    x = rng.random((args.batch, *shape), "float32")
    y = rng.integers(0, 1000, (args.batch, 1)).astype("int32")
    _, forward, gradient = floors(model, x, y)
    sides = {"forward": forward, "gradient": gradient}
    for name in args.methods:
        sides[name] = lambda name=name: getattr(ke, name)(model, x, y, verbose=0)
    seconds = alternate(sides, args.rounds, budget=300)

    print(f"{args.network}, batch {args.batch}, {args.size} x {args.size}, {keras.backend.backend()}")
    for name, times in seconds.items():
        line = f"{name:24s} {statistics.median(times):8.3f} s"
        if name in ROWS:
            middle, low, high = ratio(times, seconds[ROWS[name]])
            line += f"   {middle:5.2f} x {ROWS[name]} ({low:.2f} to {high:.2f})"
        print(line)


if __name__ == "__main__":
    main()
