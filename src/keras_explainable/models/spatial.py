"""Where things are in a traced model: the score, the last spatial signal, the layers with biases, a user's address."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras import ops

from keras_explainable.errors import LayerError
from keras_explainable.models.heads import ending, is_exposed
from keras_explainable.models.taps import IMAGES, Call, Point, Taps, Trace

WRAPPED = re.compile(r"^((module|_orig_mod)\.)+")  # how wrappers that are looked through call what they hold


def exposed(taps: Taps, x: Any, keep: Callable) -> list:
    """What a model that exposes signals returns on images: its score, and those signals, in the model's own layout.

    `keep` copies a signal, where what follows may work in place."""
    shape = (1, *x.shape[1:])
    trace = taps.trace(shape, "float32")
    score, signals = declared(trace, taps, len(x.shape) - 2, lambda: taps.trace(shape, "float32", operations=True))
    seen: dict[Point, Any] = {}

    def see(point, value):
        seen[point] = value
        return keep(value)

    outputs = taps.run(x, see, frozenset([*([score] if score else []), *signals]))
    scores = seen[score] if score else taps.scores(outputs)
    if taps.target is None:  # a squeeze may follow the last sigmoid
        scores = ops.reshape(scores, ops.shape(taps.scores(outputs)))
    return [scores, *(seen[point] for point in signals)]


def declared(
    trace: Trace, taps: Taps, rank: int, operations: Callable[[], Trace]
) -> tuple[Point | None, tuple[Point, ...]]:
    """The score's point (None: the model's output as it is) and the signals of a model, exposed by the user or not.

    A model of the user's own with outputs [score, *signals] is as good as an exposed one."""
    score: Point | None
    if taps.target is not None:
        score = resolve(trace, taps, taps.target)
    else:
        found, seen = ending(trace)
        found = found if seen else ending(operations())[0]
        score = found.point if found else None
    if taps.signals is not None:
        return score, tuple(resolve(trace, taps, address) for address in taps.signals)
    if not is_exposed(trace, operations):
        return score, (last_spatial(trace, rank),)
    made = [trace.producer(value) for value in trace.outputs[1:]]
    if not all(made):
        raise LayerError(
            "A signal that the model returns is not the output of any of its layers: "
            "expose it with ke.inspection.expose."
        )
    return score, tuple(call.output for call in made if call)


def spatial_size(shape: tuple, channels_first: bool) -> tuple:
    """The sizes of the spatial axes of a shape (batch, ...)."""
    return tuple(shape[2:] if channels_first else shape[1:-1])


def is_spatial(call: Call, rank: int) -> bool:
    """Whether a signal has the input's number of spatial axes and is larger than one pixel."""
    shaped = len(call.shape) == rank + 2 - bool(call.frames) and not call.of_heads
    return shaped and any(s != 1 for s in spatial_size(call.shape, call.channels_first))


def of_images(trace: Trace, call: Call) -> bool:
    """Whether a signal has the images on its first axis, and depends on them: not that of a layer that takes no tensor,
    as a table of positions, nor of windows of the images."""
    takes = bool(call.inputs) or call.holds_calls or call.operation
    return has_rows(trace, call) and takes and not trace.is_beside(call)


def has_rows(trace: Trace, call: Call) -> bool:
    """Whether there is a row for each image, or for each frame of each, on a signal's first axis."""
    return call.shape[:1] == (trace.images,) or call.frames > 0


def leading(trace: Trace, roots: Iterable[int]) -> frozenset[tuple[str, int]] | None:
    """The calls, by path and number, that make what some values are made of; None where the way from the images to
    them is not seen. Those that make the values themselves are not among them: scores of places are no features."""
    above = frozenset().union(*(trace.above(value) for value in roots)).difference(roots)
    if IMAGES not in above:
        return None
    made = (call for call in trace.calls if above.intersection(call.outputs) and not trace.is_beside(call))
    return frozenset((call.path, call.call) for call in made) or None


def spatial_calls(trace: Trace, rank: int, leads: frozenset | None = None) -> list[Call]:
    """The calls that end in a spatial signal which is not the model's output, in execution order: of layers without
    layers inside, and of others where they make something of their own out of what those gave. With `leads`, only
    these calls."""
    ends = set(trace.outputs) if leads is None else set()  # of an output that leads to the scores, the signal counts
    known, found = set(ends), []
    for call in trace.calls:
        old = ends if call.leaf else known
        wanted = leads is None or call.output[:2] in leads
        if wanted and is_spatial(call, rank) and not old.intersection(call.outputs) and of_images(trace, call):
            found.append(call)
        known.update(call.outputs)
    return found


def check_shown(trace: Trace, so: str) -> None:
    """Refuse a model whose layers cannot be seen."""
    if not trace.calls:
        raise LayerError(
            f"This model shows none of its layers while it runs (TorchScript does not), so {so}: give the module that "
            "it was made from, make it of layers, or explain its input, as `gradients` does."
        )


def bare_kernels(trace: Trace, rank: int, leads: frozenset | None) -> list[Call]:
    """The convolutions by weights of the model that run outside of layers, as `F.conv2d` and `conv.forward` do."""
    calls = [c for c in spatial_calls(trace, rank, leads) if c.operation and c.kind.lower().startswith("conv")]
    return [c for c in calls if trace.beside.intersection(c.inputs)]


def last_spatial(trace: Trace, rank: int, leads: frozenset | None = None) -> Point:
    """The output of the last call that ends in a spatial signal, of those in `leads`."""
    found = spatial_calls(trace, rank, leads)
    if found:
        return found[-1].output
    check_shown(trace, "there is no signal to weigh")
    shapes = ", ".join(f"{c.path} {c.shape}" for c in trace.calls if c.leaf) or "none"
    raise LayerError(
        f"No layer of this model gives a spatial signal with {rank} spatial axes of more than one pixel, which this "
        f"method needs. Its signals: {shapes}. Use a method that explains the input, such as `gradients`, or name a "
        "layer with `layer=`."
    )


def biased(trace: Trace) -> list[Call]:
    """The calls of layers that add a bias, in execution order, where the images are on the signal's first axis."""
    return [c for c in trace.calls if c.has_bias and has_rows(trace, c) and not trace.fixed.issuperset(c.outputs)]


def measured(trace: Trace, wider: Trace, score: Point | None) -> dict[tuple[str, int], tuple[list[Point], list[Point]]]:
    """Where floating numbers come into and go out of each call of a layer with no call inside, by (path, call).

    `wider` is the trace of twice as many images: calls with a signal whose first axis does not grow with it, so that
    its numbers belong to no image, are left out. The layer that makes the scores ends at `score`."""
    found = {}
    for call in trace.calls:
        twin = wider.at(call.output)
        if call.holds_calls or twin is None or len(twin.signals) != len(call.signals):
            continue
        pairs = zip(call.signals, twin.signals, strict=True)
        if not all(one and two[:1] == (2 * one[0],) for (_, one), (_, two) in pairs):
            continue
        ins, outs = ([p for p, _ in call.signals if p.link == link] for link in ("input", "output"))
        if score is not None and score == call.linear:
            outs = [score]
        if ins and outs:
            found[call.path, call.call] = ins, outs
    return found


def resolve(trace: Trace, taps: Taps, address: Any, leads: Callable = lambda: None) -> Point:
    """The point that a user means by a name, path, tuple of names, index, layer, or dictionary of
    `name` or `layer`, `link` ("output" or "input") and `index` (of the layer's calls; "node" is an older word).

    Without an index it is the last call; of several, where that is known, the last of those that `leads()` to the
    scores from the explained images."""
    if isinstance(address, Point):
        return address
    name, link, index = parts(address)
    path = find_path(taps, name)
    layers = taps.paths()
    calls = [c for c in trace.calls if layers[c.path] is layers[path]]
    if not calls:
        raise LayerError(f"Layer {path!r} is in the model but was not called in its forward pass, so it has no signal.")
    wanted = leads() if index == "last" and len(calls) > 1 else None
    ours = [c for c in calls if wanted and c.output[:2] in wanted]
    call = ours[-1] if ours else calls[_call_number(path, index, len(calls))]
    if link == "input":
        # The tensor itself, where another layer made it: so that all of its consumers count.
        made = trace.producer(call.inputs[0]) if call.inputs else None
        return made.output if made else Point(call.path, call.call, "input")
    return call.output if link == "output" else call.linear


def parts(address: Any) -> tuple[Any, str, Any]:
    """The name, link, and call number that an address means."""
    known = {"name", "layer", "link", "index", "node"}
    if not isinstance(address, Mapping):
        return address, "output", "last"
    if set(address) - known or not {"name", "layer"} & set(address):
        raise LayerError(
            f"{dict(address)} came: use 'name' or 'layer', and of {', '.join(sorted(known))} what else is needed."
        )
    name, link = address.get("layer", address.get("name")), address.get("link", "output")
    if link not in ("input", "output", "linear"):
        raise LayerError(f"link={link!r} for layer {name!r}: use 'input' or 'output'.")
    return name, link, address.get("index", address.get("node", "last"))


def _call_number(path: str, index: Any, calls: int) -> int:
    """An index counts calls from 0; inside a nested model, that model's own construction may be counted as well."""
    nested = "/" in path
    if index == "last" or (nested and index == calls):
        return calls - 1
    if isinstance(index, int) and -calls <= index < calls:
        return index % calls
    raise LayerError(f"Layer {path!r} is called {calls} times: index {index!r} is none of 0 to {calls - 1}.")


def find_path(taps: Taps, name: Any) -> str:
    """The path of a layer, from its name, a path with dots or slashes, a tuple of names, an index, or the layer."""
    paths = taps.paths()
    if isinstance(name, int):
        top = taps.children()
        if not -len(top) <= name < len(top):
            raise LayerError(f"Layer index {name} is out of range: the model has {len(top)} layers.")
        name = top[name]
    if isinstance(name, (tuple, list)) and not all(isinstance(part, (str, int)) for part in name):
        if len(name) > 1:
            raise LayerError(f"{len(name)} layers came, and one was expected: `layercam` fuses several, layers=[...].")
        name = name[0]  # as other libraries name one
    if isinstance(name, (tuple, list)):
        name = "/".join(str(part) for part in name)
    if not isinstance(name, str):
        for path, layer in paths.items():
            if layer is name:
                return path
        raise LayerError(f"{name!r} is not a layer of this model. Give a name, a path, an index, or one of its layers.")
    if name in paths:
        return name
    plain = name.replace("/", ".")
    dotted = {p: p.replace("/", ".") for p in paths}
    matches: list[str] = []
    for wanted in dict.fromkeys([plain, WRAPPED.sub("", plain)]):  # as it is, and inside of what wraps the model
        matches = matches or [p for p, d in dotted.items() if d == wanted]
        matches = matches or [p for p, d in dotted.items() if d.endswith("." + wanted)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise LayerError(f"Several layers are named {name!r}: {', '.join(matches)}. Give the full path of one.")
    short = {d.rpartition(".")[2]: p for p, d in reversed(dotted.items())}
    near = dict.fromkeys(
        [
            *difflib.get_close_matches(name, paths, 5, 0.5),
            *(short[s] for s in difflib.get_close_matches(name, short, 5, 0.5)),
        ]
    )
    hint = f" Nearest: {', '.join(list(near)[:5])}." if near else f" Its layers: {', '.join(list(paths)[:20])}."
    raise LayerError(f"The model has no layer {name!r}.{hint}")
