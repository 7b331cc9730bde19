"""Find layers and signals by the name, path or index that a user gives."""

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

WRAPPED = re.compile(r"^((module|_orig_mod)\.)+")  # the names under which wrappers hold the model


def exposed(adapter: Adapter, x: Any, keep: Callable) -> list:
    """What a model that exposes signals returns for images: its score, and the signals, in the model's own layout.

    `keep` copies a signal if later layers may work in place."""
    shape = (1, *x.shape[1:])
    trace = adapter.trace(shape)
    score, signals = declared(trace, adapter, len(x.shape) - 2, lambda: adapter.trace(shape, operations=True))
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
    """The score's point (None: the model's output as it is) and the signals of a model, exposed by `expose` or by the
    user.

    A user's own model with outputs [score, *signals] counts as exposed."""
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
    """The point that a user means by a name, path, tuple of names, index, layer, or dictionary of `name` or `layer`,
    `link` ("output" or "input") and `index` (the number of the layer's call; "node" is an older name for it).

    Without an index it is the last call. If there are several calls, and it is known which of them (`leads()`) lead
    from the explained images to the scores, it is the last of those."""
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
        # If another layer made the tensor, use its output, so that all consumers of the tensor count.
        made = trace.producer(call.inputs[0]) if call.inputs else None
        return made.output if made else Point(call.path, call.call, "input")
    return call.output if link == "output" else call.linear


def parts(address: Any) -> tuple[Any, str, Any]:
    """The name, link, and call number in an address."""
    known = {"name", "layer", "link", "index", "node"}
    if not isinstance(address, Mapping):
        return address, "output", "last"
    if set(address) - known or not {"name", "layer"} & set(address):
        raise LayerError(
            f"{dict(address)} came: use 'name' or 'layer', and only these keys: {', '.join(sorted(known))}."
        )
    name, link = address.get("layer", address.get("name")), address.get("link", "output")
    if link not in ("input", "output", "linear"):
        raise LayerError(f"link={link!r} came for layer {name!r}: use 'input' or 'output'.")
    return name, link, address.get("index", address.get("node", "last"))


def _call_number(path: str, index: Any, calls: int) -> int:
    """The number of a call by its index, counted from 0. Inside a nested model, the call that built that model may be
    counted as well."""
    nested = "/" in path
    if index == "last" or (nested and index == calls):
        return calls - 1
    if isinstance(index, int) and -calls <= index < calls:
        return index % calls
    raise LayerError(f"Layer {path!r} is called {calls} times: index {index!r} is not one of 0 to {calls - 1}.")


def find_path(adapter: Adapter, name: Any) -> str:
    """The path of a layer, given its name, a path with dots or slashes, a tuple of names, an index, or the layer.

    Raises:
        LayerError: no layer or several layers have that name.
    """
    paths, name = adapter.paths(), _one(adapter, name)
    if not isinstance(name, str):
        return _path_of(paths, name)
    if name in paths:
        return name
    matches = _matches(paths, name)
    if not matches:
        raise LayerError(f"The model has no layer {name!r}.{_hint(paths, name)}")
    if len(matches) > 1:
        raise LayerError(f"Several layers are named {name!r}: {', '.join(matches)}. Give the full path of one.")
    return matches[0]


def _one(adapter: Adapter, name: Any) -> Any:
    """A layer's name or path as one string, or the layer itself."""
    if isinstance(name, int):
        top = adapter.children()
        if not -len(top) <= name < len(top):
            raise LayerError(f"Layer index {shortly(name)} is out of range: the model has {len(top)} layers.")
        name = top[name]
    if isinstance(name, (tuple, list)) and not all(isinstance(part, (str, int)) for part in name):
        if len(name) > 1:
            raise LayerError(f"{len(name)} layers came, and one was expected: `layercam` fuses several, layers=[...].")
        name = name[0]  # other libraries take a list of one layer
    if isinstance(name, (tuple, list)):
        return "/".join(part if isinstance(part, str) else shortly(part) for part in name)
    return name


def _path_of(paths: dict[str, Any], wanted: Any) -> str:
    for path, layer in paths.items():
        if layer is wanted:
            return path
    raise LayerError(
        f"{shortly(wanted)} is not a layer of this model. Give a name, a path, an index, or one of its layers."
    )


def _matches(paths: dict[str, Any], name: str) -> list[str]:
    """The paths that equal a name in any notation, or else those that end with it, with or without the names of
    wrappers."""
    plain = name.replace("/", ".")
    dotted = {p: p.replace("/", ".") for p in paths}
    matches: list[str] = []
    for wanted in dict.fromkeys([plain, WRAPPED.sub("", plain)]):
        matches = matches or [p for p, d in dotted.items() if d == wanted]
        matches = matches or [p for p, d in dotted.items() if d.endswith("." + wanted)]
    return matches


def _hint(paths: dict[str, Any], name: str) -> str:
    """The nearest names, or else the first ones."""
    short = {p.replace("/", ".").rpartition(".")[2]: p for p in reversed(paths)}
    near = dict.fromkeys(
        [
            *difflib.get_close_matches(name, paths, 5, 0.5),
            *(short[s] for s in difflib.get_close_matches(name, short, 5, 0.5)),
        ]
    )
    return f" Nearest: {', '.join(list(near)[:5])}." if near else f" Its layers: {', '.join(list(paths)[:20])}."
