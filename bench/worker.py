"""One backend's part of a run, in a process of its own: `python -m bench.worker native '{"network": "ResNet50", ...}'`.
Rows go to standard output, one JSON object a line."""

import json
import os
import sys

KIND = sys.argv[1] if len(sys.argv) > 1 else "jax"
os.environ["KERAS_BACKEND"] = "torch" if KIND == "native" else KIND

import keras_explainable as ke  # noqa: E402  (it chooses the backend)

import numpy as np  # noqa: E402  # isort: skip

from bench import peers, subjects  # noqa: E402
from bench.floors import floors  # noqa: E402
from bench.measure import alternate, first, middle, peak, ratio  # noqa: E402

N = 5  # draws of a method that repeats
# What a method costs: its floor, how many of them, and the most that its ratio should be.
COSTS = {
    "cam": ("forward", 1, 1.05),
    "gradcam": ("forward", 1, 1.05),
    "gradcampp": ("forward", 1, 1.05),
    "gradients": ("gradient", 1, 1.03),
    "full_gradients": ("gradient", 1, 1.20),
    "simple_full_gradients": ("gradient", 1, 1.20),
    "smoothgrad": ("gradient", N, 1.0),
}
LATER = {("full_gradients", "VGG16"): 1.30, ("simple_full_gradients", "VGG16"): 1.30}
GROWTH = {("gradcam", 5): 1.15, ("gradcam", 20): 1.3}


class Subject:
    """A network on a batch of images, with its floors."""

    def __init__(self, network, batch, size):
        self.network, self.batch, self.size = network, batch, size
        native = KIND == "native"
        self.model = subjects.module(network) if native else subjects.keras_model(network, size)
        rng = np.random.default_rng(1)
        shape = (batch, 3, size, size) if native else (batch, size, size, 3)
        self.x = rng.random(shape, "float32")
        self.y = rng.integers(0, 1000, (batch, 1)).astype("int32")
        self.forward, self.gradient = floors(self.model, self.x, self.y)

    def ours(self, method, units=None, **params):
        y = self.y if units is None else np.tile(np.arange(units, dtype="int32"), (self.batch, 1))
        return lambda: ke.explain(method, self.model, self.x, y, verbose=0, **params)

    def row(self, **facts):
        return {"backend": KIND, "network": self.network, "batch": self.batch, "size": self.size} | facts


def verdict(subject, method, maps, gradient):
    """Whether raw maps are right, by a second witness in the bare framework, or "unchecked"."""
    if method == "gradients":
        expected = abs(gradient).mean(1 if KIND == "native" else -1)
        error = abs(maps[..., 0] - expected).max() / abs(expected).max()
        return "right" if error < 1e-3 else f"wrong by {error:.1e}"
    if not np.isfinite(maps).all() or abs(maps).max() == 0:
        return "wrong: constant or not finite"
    return "unchecked"


def measure(options):
    """Rows of the methods on one network and batch, beside their floors and peers."""
    subject = Subject(options["network"], options["batch"], options["size"])
    gradient = subject.gradient()
    subject.forward()
    sides, facts = {"forward": subject.forward, "gradient": subject.gradient}, {}
    for method in options["methods"]:
        params = {"repetitions": N} if method == "smoothgrad" else {}
        if method.startswith("gradcam") and KIND == "native" and subject.network in subjects.LAYERS:
            params["layer"] = subjects.LAYERS[subject.network]
        try:
            raw = ke.explain(method, subject.model, subject.x, subject.y, verbose=0, resizing=False, **params)
        except ke.errors.LayerError as error:
            emit(subject.row(method=method, verdict=f"refused: {str(error)[:60]}"))
            continue
        sides[method] = subject.ours(method, precision=options.get("precision"), **params)
        ke.clear_cache()
        _, begun = first(sides[method])
        facts[method] = {"first": begun, "verdict": verdict(subject, method, raw.maps, gradient), "others": {}}
        facts[method]["sketch"] = sketch(raw.maps)
        if options.get("peers"):
            layer = params.get("layer") or last_spatial(subject)
            found = peers.peers(KIND, method, subject.model, subject.x, subject.y, layer, N)
            for name, run in found.items():
                add_peer(facts[method]["others"], sides, method, name, run, raw.maps[..., 0])
    seconds = alternate(sides, options["rounds"], options["budget"])
    memory = {name: peak(run) for name, run in sides.items()}
    for floor in ("forward", "gradient"):
        emit(subject.row(method=floor, seconds=middle(seconds[floor]), memory=memory[floor]))
    for method, known in facts.items():
        floor, times, most = COSTS.get(method, ("gradient", 1, None))
        beside = {
            n: ratio(seconds[f"{method} {n}"], seconds[method])
            for n, why in known["others"].items()
            if not isinstance(why, str)
        }
        emit(
            subject.row(
                method=method,
                seconds=middle(seconds[method]),
                floor=floor if times == 1 else f"{times} {floor}",
                ratio=ratio(seconds[method], seconds[floor], times),
                most=LATER.get((method, subject.network), most),
                memory=memory[method],
                memory_ratio=memory[method] / max(memory[floor], 1),
                peers=known.pop("others") | {n: {"times": r} for n, r in beside.items()},
                **known,
            )
        )


def last_spatial(subject):
    """The layer that Grad-CAM takes."""
    if KIND == "native":
        return subjects.LAYERS[subject.network]
    return ke.explain("gradcam", subject.model, subject.x[:1], 0, verbose=0).about["signal"]


def add_peer(others, sides, method, name, run, ours):
    """A side of a peer's, after a first call that shows whether it works and agrees."""
    others[name] = run
    if isinstance(run, str):
        return
    try:
        theirs, _ = first(run)
        others[name] = {"agreement": peers.agreement(method, ours, theirs)}
        sides[f"{method} {name}"] = run
    except Exception as error:  # a peer that fails is a row that says so
        others[name] = f"{type(error).__name__}: {str(error)[:80]}"


def growth(options):
    """How time grows: with units, with the images' size, with repetitions."""
    subject = Subject(options["network"], options["batch"], options["size"])
    for method, counts in (("gradcam", (1, 5, 20)), ("gradients", (1, 5))):
        floor = COSTS[method][0]
        sides = {floor: getattr(subject, floor), "forward": subject.forward}
        sides |= {k: subject.ours(method, k) for k in counts}
        for run in sides.values():
            run()
        seconds = alternate(sides, options["rounds"], options["budget"])
        for k in counts:
            facts = {"method": method, "units": k, "floor": floor, "seconds": middle(seconds[k])}
            emit(subject.row(**facts, ratio=ratio(seconds[k], seconds[floor]), most=GROWTH.get((method, k))))
    for n in (1, 5, 25):
        run = subject.ours("smoothgrad", repetitions=n)
        run()
        seconds = alternate({"gradient": subject.gradient, "ours": run}, 3, options["budget"])
        facts = {"method": "smoothgrad", "repetitions": n, "floor": f"{n} gradient", "memory": peak(run)}
        ratios = ratio(seconds["ours"], seconds["gradient"], n)
        emit(subject.row(**facts, seconds=middle(seconds["ours"]), ratio=ratios, most=1.0 if n > 1 else None))
    for size in (128, 256, 512):
        other = Subject(options["network"], 1, size)
        sides = {"forward": other.forward, "gradcam": other.ours("gradcam")}
        for run in sides.values():
            run()
        seconds = alternate(sides, options["rounds"], options["budget"])
        facts = {"method": "gradcam", "floor": "forward", "seconds": middle(seconds["gradcam"])}
        emit(other.row(**facts, ratio=ratio(seconds["gradcam"], seconds["forward"]), growth="size"))


def sketch(maps):
    """A few numbers of raw maps, by which backends with equal weights are compared."""
    first_image = maps[0, ..., 0]
    side = min(7, *first_image.shape)
    rows = np.array_split(first_image, side, axis=0)
    return [[float(part.mean()) for part in np.array_split(row, side, axis=1)] for row in rows]


def emit(row):
    """A row, for whoever started this process."""
    print("ROW " + json.dumps(row), flush=True)


def main():
    options = json.loads(sys.argv[2])
    {"methods": measure, "growth": growth}[options["section"]](options)


if __name__ == "__main__":
    main()
