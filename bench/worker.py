"""Measure one backend in its own process: `python -m bench.worker native '{"network": "ResNet50", ...}'`.

Rows are printed to standard output, one JSON object per line."""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

KIND = sys.argv[1] if len(sys.argv) > 1 else "jax"
os.environ["KERAS_BACKEND"] = "torch" if KIND == "native" else KIND

import keras_explainable as ke  # noqa: E402  (it chooses the backend)

import keras  # noqa: E402  # isort: skip
import numpy as np  # noqa: E402  # isort: skip

from bench import networks, peers  # noqa: E402
from bench.budgets import N, countless, few  # noqa: E402
from bench.floors import floors, tail  # noqa: E402
from bench.groups import GROUPS, agree  # noqa: E402
from bench.measure import alternate, first, middle, peak, ratio  # noqa: E402
from bench.reference_maps import witness  # noqa: E402
from keras_explainable import backend, registry  # noqa: E402
from keras_explainable.runtime import compile_cache  # noqa: E402

# The target for the ratio of a method's time to its cost: the highest that is accepted. Default: 1.05.
MOST = {
    "cam": 1.05,
    "gradcam": 1.05,
    "gradcampp": 1.05,
    "gradients": 1.03,
    "full_gradients": 1.20,
    "simple_full_gradients": 1.20,
    "smoothgrad": 1.0,
}
LATER = {("full_gradients", "VGG16"): 1.30, ("simple_full_gradients", "VGG16"): 1.30}
GROWTH = {("gradcam", 5): 1.15, ("gradcam", 20): 1.3}


@dataclass(frozen=True)
class Alone(compile_cache.Program):
    """A method alone, without what `ke.explain` adds."""

    method: Callable
    params: dict

    def __call__(self, model, x, y):
        return self.method(model, x, y, **self.params)


class Subject:
    """A network, a batch of images, and the floors."""

    def __init__(self, network, batch, size):
        size, units = networks.SHAPES.get(network, (size, 1000))
        self.network, self.batch, self.size = network, batch, size
        native = KIND == "native"
        self.model = networks.module(network) if native else networks.keras_model(network, size)
        rng = np.random.default_rng(1)
        shape = (batch, 3, size, size) if native else (batch, size, size, 3)
        self.x = rng.random(shape, "float32")
        self.y = rng.integers(0, units, (batch, 1)).astype("int32")
        self.forward, self.gradient = floors(self.model, self.x, self.y)

    @property
    def where(self):
        """The layer for a method that needs one, if the last spatial signal is not the output of a whole block."""
        return {"layer": networks.LAYERS[self.network]} if KIND == "native" and self.network in networks.LAYERS else {}

    def few(self, method):
        """Return the parameters of a method, and the letters of its cost."""
        params, numbers = few(method, self.size)
        return params | (self.where if registry.takes(registry.get(method), "layer") else {}), numbers

    def ours(self, method, units=None, **params):
        y = self.y if units is None else np.tile(np.arange(units, dtype="int32"), (self.batch, 1))
        return lambda: ke.explain(method, self.model, self.x, y, verbose=0, **params)

    def step(self, method, **params):
        """Return the compiled step of `ours` without `explain`, on tensors in memory."""
        function = registry.get(method)
        run = compile_cache.compiled(Alone(function, params), self.model)
        x, y = keras.ops.convert_to_tensor(self.x), keras.ops.convert_to_tensor(self.y)
        return lambda: [backend.to_host(part) for part in run(x, y)]

    def row(self, **facts):
        return {"backend": KIND, "network": self.network, "batch": self.batch, "size": self.size} | facts


def verdict(subject, method, maps, gradient):
    """Check raw maps against reference maps of the bare framework. Without these, return "unchecked"."""
    if not np.isfinite(maps).all() or abs(maps).max() == 0:
        return "wrong: constant or not finite"
    expected = None
    if method == "gradients":
        expected = abs(gradient).mean(1 if KIND == "native" else -1)
    elif KIND == "native" and subject.network != "ViT":  # whose biases are not those of maps (N, C, *S)
        expected = witness(method, subject.model, subject.where.get("layer"), subject.x, subject.y, N)
    if expected is None:
        return "unchecked"
    # Compare norms: rounding at the kinks of a random network changes single values by a few percent.
    error = np.linalg.norm(maps[..., 0] - expected) / np.linalg.norm(expected)
    return "right" if error < 1e-2 else f"wrong by {error:.1e}"


def measure(options):
    """Measure the methods on one network and batch, together with their floors and peers."""
    subject = Subject(options["network"], options["batch"], options["size"])
    input_gradient = subject.gradient()
    subject.forward()
    sides, facts = {"forward": subject.forward, "gradient": subject.gradient}, {}
    for method in sorted(registry.METHODS) if options["methods"] == ["all"] else options["methods"]:
        params, numbers = subject.few(method)
        if countless(method, subject.size, subject.network):
            emit(subject.row(method=method, verdict="too many channels"))
            continue
        try:
            raw = ke.explain(method, subject.model, subject.x, subject.y, verbose=0, resizing=False, **params)
        except ke.errors.LayerError as error:
            emit(subject.row(method=method, verdict=f"refused: {str(error)[:60]}"))
            continue
        sides |= add_tail(subject, method, params.get("layer"), numbers)
        sides[method] = subject.ours(method, precision=options.get("precision"), **params)
        ke.clear_cache()
        _, begun = first(sides[method])
        facts[method] = {"first": begun, "verdict": verdict(subject, method, raw.maps, input_gradient), "others": {}}
        facts[method] |= {"sketch": sketch(raw.maps), "numbers": numbers}
        if options.get("peers"):
            layer = params.get("layer") or subject.where.get("layer") or last_spatial(subject)
            found = peers.peers(KIND, method, subject.model, subject.x, subject.y, layer, N)
            for name, run in found.items():
                add_peer(facts[method]["others"], sides, method, name, run, raw.maps[..., 0])
    if "gradcam" in facts:
        sides["the step alone"] = subject.step("gradcam", **subject.where)
    for run in sides.values():  # compile again: each first call was timed with an empty cache
        run()
    seconds = alternate(sides, options["rounds"], options["budget"])
    memory = {name: peak(run) for name, run in sides.items()}
    for floor in ("forward", "gradient"):
        emit(subject.row(method=floor, seconds=middle(seconds[floor]), memory=memory[floor]))
    if "gradcam" in facts:
        emit(overhead(subject, seconds["gradcam"], seconds["the step alone"]))
    for method, known in facts.items():
        cost, numbers = registry.METHODS[method].cost, known.pop("numbers")
        beside = {
            n: ratio(seconds[f"{method} {n}"], seconds[method])
            for n, why in known["others"].items()
            if not isinstance(why, str)
        }
        known["peers"] = {n: v if n not in beside else v | {"times": beside[n]} for n, v in known.pop("others").items()}
        most = LATER.get((method, subject.network), MOST.get(method, 1.05))
        emit(subject.row(**against_floor(method, seconds, memory, cost, numbers), most=most, **known))


def against_floor(name, seconds, memory, cost, numbers):
    """Return what a row says about time and memory, relative to the passes of the bare framework in a cost."""
    bare = zip(seconds["forward"], seconds["gradient"], seconds.get("tail", seconds["forward"]), strict=True)
    passes = [cost.passes(forward=f, backward=g - f, tail=t, **numbers) for f, g, t in bare]
    held = memory["gradient" if "backward" in cost.letters else "forward"]
    return {
        "method": name,
        "seconds": middle(seconds[name]),
        "floor": written(str(cost), numbers),
        "ratio": ratio(seconds[name], passes),
        "memory": memory[name],
        "memory_ratio": memory[name] / max(held, 1),
    }


def written(cost, numbers):
    """Replace the letters of a cost by numbers, and a forward pass with its backward pass by `gradient`."""
    for letter, number in numbers.items():
        cost = re.sub(rf"\b{letter}\b", str(number), cost)
    cost = re.sub(r"\b1 (?=backward|forward|\()", "", cost)
    return re.sub(r"\(forward \+ backward\)|^forward \+ backward$", "gradient", cost)


def overhead(subject, ours, step):
    """Return the row of what `explain` adds to its compiled step, including resizing. 3 % or 5 ms are accepted."""
    more = middle([(a - b) * 1000 for a, b in zip(ours, step, strict=True)])
    most = max(1.03, 1 + 0.005 / middle(step)[0])
    facts = {"method": "explain gradcam", "floor": "its step", "milliseconds": more, "most": round(most, 2)}
    return subject.row(**facts, seconds=middle(ours), ratio=ratio(ours, step))


def last_spatial(subject):
    """Return the layer that Grad-CAM chooses."""
    return ke.explain("gradcam", subject.model, subject.x[:1], 0, verbose=0).about["signal"]


def add_tail(subject, method, layer, numbers):
    """Return {"tail": the bare pass of what comes after the layer} if the cost of the method has it, and put the number
    of the layer's channels into `numbers`."""
    if "tail" not in registry.METHODS[method].cost.letters:
        return {}
    run, numbers["C"] = tail(subject.model, layer or last_spatial(subject), subject.x, subject.y)
    return {"tail": run}


def add_peer(others, sides, method, name, run, ours):
    """Add a peer to the candidates after a first call, which shows whether it works and agrees."""
    others[name] = run
    if isinstance(run, str):
        return
    try:
        theirs, _ = first(run)
        others[name] = {"agreement": peers.agreement(method, name, ours, theirs)}
        sides[f"{method} {name}"] = run
    except Exception as error:  # reported in the row
        others[name] = f"{type(error).__name__}: {str(error)[:80]}"


def growth(options):
    """Measure how time grows with units, image size and repetitions."""
    subject = Subject(options["network"], options["batch"], options["size"])
    for method, counts in (("gradcam", (1, 5, 20)), ("gradients", (1, 5))):
        floor = {"gradcam": "forward", "gradients": "gradient"}[method]
        sides = {floor: getattr(subject, floor)}
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
        ratios = ratio(seconds["ours"], [n * floor for floor in seconds["gradient"]])
        emit(subject.row(**facts, seconds=middle(seconds["ours"]), ratio=ratios, most=1.0 if n > 1 else None))
    for size in (128, 256, 512):
        other = Subject(options["network"], 1, size)
        sides = {"forward": other.forward, "gradcam": other.ours("gradcam")}
        for run in sides.values():
            run()
        seconds = alternate(sides, options["rounds"], options["budget"])
        facts = {"method": "gradcam", "floor": "forward", "seconds": middle(seconds["gradcam"])}
        emit(other.row(**facts, ratio=ratio(seconds["gradcam"], seconds["forward"]), growth="size"))


def groups(options):
    """Measure groups of methods that share passes, together and one by one."""
    subject, precision = Subject(options["network"], options["batch"], options["size"]), options.get("precision")
    sides, facts, alone, maps = {"forward": subject.forward, "gradient": subject.gradient}, {}, {}, {}
    for run in sides.values():
        run()
    for name, group in GROUPS.items():
        params = {method: subject.few(method)[0] for method in group.methods}
        sides[name] = subject.ours({method: (method, params[method]) for method in params}, precision=precision)
        found, begun = first(sides[name])
        for method in found.keys() - alone:
            alone[method] = subject.ours(method, precision=precision, **params[method])
            maps[method] = alone[method]().maps
        sides[f"{name}, one by one"] = lambda runs=[alone[method] for method in found]: [run() for run in runs]
        facts[name] = {"first": begun, "verdict": agree(found, maps)}
    seconds = alternate(sides, options["rounds"], options["budget"])
    memory = {name: peak(sides[name]) for name in ("forward", "gradient", *facts)}
    for name, known in facts.items():
        cost, numbers = GROUPS[name].cost, {"K": 1, "n": N}
        known["peers"] = {"one by one": {"times": ratio(seconds[f"{name}, one by one"], seconds[name])}}
        emit(subject.row(**against_floor(name, seconds, memory, cost, numbers), most=GROUPS[name].most, **known))


def sketch(maps):
    """Return a few block means of the first raw map, to compare backends with equal weights."""
    first_image = maps[0, ..., 0]
    side = min(7, *first_image.shape)
    rows = np.array_split(first_image, side, axis=0)
    return [[float(part.mean()) for part in np.array_split(row, side, axis=1)] for row in rows]


def emit(row):
    """Print a row for the parent process."""
    print("ROW " + json.dumps(row), flush=True)


def main():
    options = json.loads(sys.argv[2])
    {"methods": measure, "groups": groups, "growth": growth}[options["section"]](options)


if __name__ == "__main__":
    main()
