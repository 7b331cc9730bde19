"""Layers and signals by the name, path or index that a user gives."""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

from keras_explainable.errors import LayerError, shortly
from keras_explainable.models.contract import Adapter
from keras_explainable.models.heads import ending, is_exposed
from keras_explainable.models.spatial import last_spatial
from keras_explainable.models.trace import Point, Trace

WRAPPED = re.compile(r"^((module|_orig_mod)\.)+")  # how wrappers that are looked through call what they hold


def exposed(adapter: Adapter, x: Any, keep: Callable) -> list:
    """What a model that exposes signals returns on images: its score, and those signals, in the model's own layout.

    `keep` copies a signal, where what follows may work in place."""
    shape = (1, *x.shape[1:])
    trace = adapter.trace(shape, "float32")
    score, signals = declared(
        trace, adapter, len(x.shape) - 2, lambda: adapter.trace(shape, "float32", operations=True)
    )
    seen: dict[Point, Any] = {}

    def see(point, value):
        seen[point] = value
        return keep(value)

    outputs = adapter.run(x, see, frozenset([*([score] if score else []), *signals]))
    scores = seen[score] if score else adapter.scores(outputs)
    if adapter.target is None:  # a squeeze may follow the last sigmoid
        scores = ops.reshape(scores, ops.shape(adapter.scores(outputs)))
    return [scores, *(seen[point] for point in signals)]


def declared(
    trace: Trace, adapter: Adapter, rank: int, operations: Callable[[], Trace]
) -> tuple[Point | None, tuple[Point, ...]]:
    """The score's point (None: the model's output as it is) and the signals of a model, exposed by the user or not.

    A model of the user's own with outputs [score, *signals] is as good as an exposed one."""
    score: Point | None
    if adapter.target is not None:
        score = resolve(trace, adapter, adapter.target)
    else:
        found, seen = ending(trace)
        found = found if seen else ending(operations())[0]
        score = found.point if found else None
    if adapter.signals is not None:
        return score, tuple(resolve(trace, adapter, address) for address in adapter.signals)
    if not is_exposed(trace, operations):
        return score, (last_spatial(trace, rank),)
    made = [trace.producer(value) for value in trace.outputs[1:]]
    if not all(made):
        raise LayerError(
            "A signal that the model returns is not the output of any of its layers: "
            "expose it with ke.inspection.expose."
        )
    return score, tuple(call.output for call in made if call)


def resolve(trace: Trace, adapter: Adapter, address: Any, leads: Callable = lambda: None) -> Point:
    """The point that a user means by a name, path, tuple of names, index, layer, or dictionary of
    `name` or `layer`, `link` ("output" or "input") and `index` (of the layer's calls; "node" is an older word).

    Without an index it is the last call; of several, where that is known, the last of those that `leads()` to the
    scores from the explained images."""
    if isinstance(address, Point):
        return address
    name, link, index = parts(address)
    path = find_path(adapter, name)
    layers = adapter.paths()
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


def find_path(adapter: Adapter, name: Any) -> str:
    """The path of a layer, from its name, a path with dots or slashes, a tuple of names, an index, or the layer."""
    paths = adapter.paths()
    if isinstance(name, int):
        top = adapter.children()
        if not -len(top) <= name < len(top):
            raise LayerError(f"Layer index {shortly(name)} is out of range: the model has {len(top)} layers.")
        name = top[name]
    if isinstance(name, (tuple, list)) and not all(isinstance(part, (str, int)) for part in name):
        if len(name) > 1:
            raise LayerError(f"{len(name)} layers came, and one was expected: `layercam` fuses several, layers=[...].")
        name = name[0]  # as other libraries name one
    if isinstance(name, (tuple, list)):
        name = "/".join(part if isinstance(part, str) else shortly(part) for part in name)
    if not isinstance(name, str):
        for path, layer in paths.items():
            if layer is name:
                return path
        raise LayerError(
            f"{shortly(name)} is not a layer of this model. Give a name, a path, an index, or one of its layers."
        )
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
