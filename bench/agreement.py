"""`python -m bench.agreement FOLDER`: compare maps in a lower precision with those in float32, a row for each method.

FOLDER has a file `networks.py` with `load(name)`, `photos(folder)` and `preprocess(name, images)` for trained networks
and photos."""

import argparse
import sys

import keras_explainable as ke  # first: it chooses the backend

import numpy as np  # isort: skip

from bench.budgets import countless, few


def ranks(values):
    return np.argsort(np.argsort(values))


def correlation(a, b):
    """Return the rank correlation (Spearman) of two maps."""
    return float(np.corrcoef(ranks(a.ravel()), ranks(b.ravel()))[0, 1])


def overlap(a, b, part=0.05):
    """Return the share of the largest values of one map (`part` of all) that are also among the largest of the other."""
    number = max(1, int(part * a.size))
    first, second = (set(np.argsort(-m.ravel())[:number]) for m in (a, b))
    return len(first & second) / number


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.agreement", description=__doc__)
    add = parser.add_argument
    add("folder", help="the folder of networks.py")
    add("--networks", nargs="*", default=["squeezenet_v1_1", "mobilenet_v2"])
    add("--methods", nargs="*", default=[])
    add("--precision", default="bfloat16")
    add("--images", type=int, default=8)
    args = parser.parse_args()
    sys.path.insert(0, args.folder)
    import networks

    print("| network | method | rank correlation: median (least) | overlap of the largest 5 %: median (least) |")
    print("|---|---|---|---|")
    images, _ = networks.photos("imagenet_sample")
    for network in args.networks:
        model = networks.load(network)
        x = networks.preprocess(network, images[:: len(images) // args.images][: args.images])
        y = model.predict(x, verbose=0).argmax(1)
        for method in args.methods or sorted(ke.registry.METHODS):
            if countless(method, x.shape[1], network):
                continue
            params, _ = few(method, x.shape[1])
            try:
                maps = [
                    ke.explain(method, model, x, y, batch_size=4, verbose=0, precision=precision, **params).maps[..., 0]
                    for precision in (None, args.precision)
                ]
            except ke.errors.ExplainError as error:
                print(f"| {network} | {method} | refused: {str(error)[:60]} | |", flush=True)
                continue
            found = [[f(a, b) for a, b in zip(*maps, strict=True)] for f in (correlation, overlap)]
            cells = [f"{np.median(values):.3f} ({min(values):.3f})" for values in found]
            print(f"| {network} | {method} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
