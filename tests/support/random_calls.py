"""Random calls of the library, right and wrong ones, made from a number: the same number makes the same call.

`call(number)` draws a method, a model, and arguments of which most fit and some do not. `answer(call)` makes it, and
says what is wrong with what came back; nothing where it is an explanation or an error of ours.
"""

import functools
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import layers as L

import keras_explainable as ke
from keras_explainable.errors import ExplainError
from support import keras_models
from support.calls import subject
from support.left_as_found import same, state
from support.selection import BACKEND

N = 2


class Own(Exception):
    """What a function of the user raises."""


def raising(*args, **kwargs):
    raise Own("on purpose")


class Odd:
    """Some object."""

    def __repr__(self):
        return "Odd()"


def nothing(*args, **kwargs):
    return None


@dataclass(frozen=True)
class Named:
    """A value with a name by which a failure shows it."""

    name: str
    value: Any

    def __repr__(self):
        return self.name


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Named) else value


@cache
def kinds() -> dict[str, tuple[Any, np.ndarray]]:
    """Models and images for them: of each backend few, so that little must be compiled."""
    chosen = ["functional", "one_unit", "transformer"]
    others = ["subclassed", "sequential", "flatten", "one_dimensional", "shared"]
    chosen += others if BACKEND == "torch" else ["subclassed"] if BACKEND == "tensorflow" else []
    found = {name: (keras_models.build(name), keras_models.images(name, N)) for name in chosen}
    function, x = found["functional"]
    found["function"] = (functools.partial(_called, function), x)
    if BACKEND == "torch":
        from support import torch_models

        nets = (torch_models.Plain, torch_models.Twice, torch_models.Tokens, torch_models.ChannelsLastInside)
        found |= {f"module {net.__name__}": (torch_models.drawn(net()), torch_models.images(N)) for net in nets}
    return found


def _called(model: Any, images: np.ndarray) -> np.ndarray:
    try:
        return keras.ops.convert_to_numpy(model(images))
    except Exception as error:
        raise Own("the function could not") from error


POOL = (
    None, "a", "", -1, 0, 1, 2, 1.5, float("nan"), float("inf"), True, False, [], (), {}, [1, 2], (3,), ["a"], b"a", 3j,
    {"a": 1}, {1}, 10**30, np.float32(2), np.int64(1), Named("ones (2, 2)", np.ones((2, 2))), slice(1, 2), range(3),
    Named("words", np.array(["a", "b"])), Named("an empty array", np.zeros((0,))), Named("Odd()", Odd()), Named("a class", Odd),
    Named("a function that raises", raising), Named("a function of nothing", lambda: 1), Named("returns None", nothing),
    Named("objects", np.array([None, "a"], object)), np.array(1), [[1], [1, 2]], [None],
)  # fmt: skip

# Of each argument what fits, if with the right model, and what does not; anything of `POOL` may come in its place as well.
OWN: dict[str, tuple[tuple, tuple]] = {
    "repetitions": ((1, 2, 3), (0, -1)),
    "noise": ((0.0, 0.1, 1), (-0.1,)),
    "noise_kind": (("absolute", "range"), ("none",)),
    "reduce": (("mean", "sum", "max", "absolute", None), ()),
    "quadrature": (("gauss_legendre", "midpoint"), ("simpson",)),
    "baseline": ((0.0, "mean", 1, (0.1, 0.2, 0.3), Named("an image", np.zeros((20, 24, 3), "float32"))), ("black",)),
    "baselines": ((0.0, (0.1, 0.2, 0.3), Named("images", np.zeros((2, 20, 24, 3), "float32"))), ("mean", "black")),
    "patch": ((8, (10, 12), 100), ((8,),)),
    "stride": ((None, 6, (8, 8)), (100,)),
    "grid": ((None, 3, (5, 6)), ((3, 3, 3), 0)),
    "p": ((0.5, 0.3), (1.0, 0)),
    "at_once": ((None, 1, 8), (0,)),
    "segments": ((3, (2, 2), Named("labels", np.arange(480).reshape(20, 24) // 100)), (0, (2, 2, 2))),
    "max_channels": ((3, 100), (0,)),
    "layers": ((None, ["conv1"], ["conv1", "conv3"], [0]), (["a"], [])),
    "others": ((1, 3, 100), (0,)),
    "gamma": ((0.25, 0.6, 0.0), (-1,)),
    "epsilon": ((1e-6, 0.1, 0.0), (-1,)),
    "low": ((None, -3.0, (-1.0, -1.0, -1.0)), (5,)),
    "high": ((None, 3.0, 5), (-5,)),
    "biases": ((None,), (True, "all", "layers")),
    "aggregation": (("sum", "mean"), ("max",)),
    "fusion": (("mean", "max", "min"), ("sum",)),
    "discard": ((0.0, 0.5), (1.0, -1)),
    "prefix": ((None, 1), (0, 99)),
    "max_sigma": ((None, 3.0), (0,)),
    "fraction": ((0.25, 1.0), (0.0, 2)),
    "max_distance": ((0.02, 0.5), (-1, 2)),
    "width": ((0.25,), (0.0,)),
    "ridge": ((1.0, 0.0), (-1,)),
}
OFTEN = ("repetitions", "patch", "max_channels")  # given in every call: their defaults cost much

LAYERS = (
    (None, "conv1", "conv2", "relu2", -2, 1, 0, ("conv1",), ["conv2"], {"name": "conv1"}, {"name": "conv1", "link": "input"}),
    ("nothing", "module.conv1", "logits", -1, 99, ("conv1", "conv2"), {"layer": "conv1", "index": 5}, {"name": "conv1", "link": "x"},
     {"name": "conv1", "prefix": 1, "grid": (5, 6)}, {"name": "conv1", "grid": 3}, {"name": 3}, {"index": 1}, "block1_norm1",
     {"name": "block1_norm1", "prefix": 1, "grid": (5, 6)}, {"name": "block2_norm1", "prefix": "a"}, {"name": "block1_norm1", "grid": 5},
     Named("a strange layer", L.Dense(2)), {"name": "block1_norm1", "grid": ("a", "b")}, {"name": "conv1", "index": "first"}),
)  # fmt: skip

SCORES = (
    (Named("unit", ke.scores.unit(1)), Named("top_k", ke.scores.top_k(2)), Named("margin", ke.scores.margin(0, 1)),
     Named("margin of one", ke.scores.margin(0)), Named("negated", ke.scores.negated()), Named("value", ke.scores.value(0)),
     Named("similarity", ke.scores.similarity(np.ones(5))), Named("columns", lambda outputs: outputs[:, :2]),
     Named("output", ke.scores.output(0))),
    (Named("binary", ke.scores.binary()), Named("value 9", ke.scores.value(9)), Named("output b", ke.scores.output("b")),
     Named("region", ke.scores.region(None, 1, -1)), Named("box", ke.scores.box((0, 0, 1, 1))), Named("takes nothing", lambda: None),
     Named("similarity 3", ke.scores.similarity(np.ones(3))), Named("rows alone", lambda outputs: outputs[:, 0]),
     Named("returns None", nothing), Named("raises", raising), Named("a number", lambda outputs: 1.0), "unit", 3,
     Named("a sum", lambda outputs: keras.ops.sum(outputs)), Named("three axes", lambda outputs: outputs[:, None]),
     Named("one row", lambda outputs: outputs[:1, :2]), Named("zeros", lambda outputs: np.zeros((N, 2), "float32")),
     Named("a list", lambda outputs: [1, 2]), Named("words", lambda outputs: np.array(["a"])), Named("NaN", lambda outputs: outputs * float("nan")),
     Named("no units", lambda outputs: outputs[:, :0]), Named("a dictionary", lambda outputs: {"a": outputs})),
)  # fmt: skip

FILTERS = (
    (*(Named(f.__name__, f) for f in (ke.filters.normalize, ke.filters.absolute_normalize, ke.filters.positive)),
     Named("twice", lambda maps: 2 * maps), Named("one unit", lambda maps: maps[..., :1])),
    (Named("returns None", nothing), Named("raises", raising), Named("a mean", lambda maps: keras.ops.mean(maps)), "normalize", 3,
     Named("words", lambda maps: "a"), Named("one image", lambda maps: maps[:1]), Named("takes nothing", lambda: None),
     Named("NumPy", lambda maps: np.ones(3)), Named("no units", lambda maps: keras.ops.mean(maps, axis=-1)), Named("a list", lambda maps: [maps])),
)  # fmt: skip

UNITS = (
    (None, 0, 0, 1.0, "predicted", "top-1", Named("[0, 0]", [0, 0]), Named("[[0], [0]]", np.array([[0], [0]])), Named("[0., 0.]", np.zeros(2))),
    (-1, 99, 1.5, True, "top-9", "top-0", "unit", float("nan"), 10**30, Named("binary labels", ke.scores.binary([0, 1])), {"a": 1}, [None, 1],
     Named("a function", raising), *(Named(f"{value!r}", value) for value in ([0, 1, 2], [[0], [1, 2]], ["a", "b"], np.zeros((2, 0), int),
     np.zeros((2, 1, 1), int), [[0.2, 0.8], [0.5, 0.5]], np.eye(5)[:2], np.eye(2)[:2], np.array([0, 10**12])))),
)  # fmt: skip

OPTIONS: dict[str, tuple[tuple, tuple]] = {
    "batch_size": ((None, 1, 2, 3), (0, "a", 1.5)),
    "steps": ((None, 1, 2), (0, "a")),
    "resizing": ((True, False, None, (8, 9), [8, 9]), ((8,), (0, 1), "a", 3, (2.5, 2))),
    "seed": ((None, 0, 3, -1, 2**40, np.int64(3)), (1.5, "a")),
    "precision": ((None, "bfloat16", "float16", "float32"), ("float64", ["bfloat16"])),
    "as_numpy": ((True, False), ()),
    "verbose": ((0,), (-1, 2.5, [1])),
    "callbacks": ((None, [], Named("a callback", keras.callbacks.Callback())), (3, "a", [3], raising)),
    "leaf": ((None,), ("image", 0, ("a", "b"), 1.5, ["image"])),
    "channels": ((None, "last"), ("first", "none", 1, -1, 9, 1.5, True, [1])),
    "score": SCORES,
    "postprocessing": FILTERS,
}
HOW_OFTEN = {"score": 0.3, "postprocessing": 0.3}


def right(x: np.ndarray) -> tuple:
    """Images that fit, in all forms in which they may come."""
    return (
        *(x,) * 12, x[:1], x.astype("float64"), [*x], x.tolist(), iter([x]), iter([x, x[:1]]), iter([(x, [0, 0])]),
        keras.ops.convert_to_tensor(x), np.zeros_like(x), x > 0, (x * 50).astype("uint8"),
    )  # fmt: skip


def odd(x: np.ndarray) -> tuple:
    """Images that do not."""
    channels = 1 if x.ndim > 3 and x.shape[1] == 3 else -1
    nan = x.copy()
    nan[1, 0] = np.nan
    return (
        x[0], x[..., 0], x[None], nan, x[:0], x.astype(object), x.astype("complex64"), x.astype(str), x[:, :5], np.repeat(x, 2, axis=channels),
        np.moveaxis(x, channels, 3 if channels == 1 else 1), np.concatenate([x, x], axis=2), [x[0], x[1][:5]], iter([]), iter([3]), (x, [0, 1]),
        {"image": x}, {}, [], None, "photo.png", 3, raising, x[:, :1], x * 1e30, np.float32(1), iter([x, x[:, :5]]), iter(["a"]), iter([(x, [0])]),
        x[:, 0, 0], iter([x, None]), iter([nan]), iter([x, nan]), iter([(x, "ab")]), iter([(x, [0, 99])]), iter([{"image": x}]), [x, x[:1]],
    )  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A call: a method, its model and images by name, and the arguments."""

    number: int
    method: Any
    kind: str
    x: Any
    params: dict[str, Any]

    def __repr__(self):
        shape = f"{type(self.x).__name__} {getattr(self.x, 'shape', '')} {getattr(self.x, 'dtype', '')}"
        return f"call({self.number}): {self.method!r} of {self.kind!r}, x: {shape}, {self.params}"


def call(number: int) -> Request:
    """The call of a number: of its arguments none, one or two do not fit."""
    rng = np.random.default_rng([15, number])

    def pick(values: Any) -> Any:
        return values[rng.integers(len(values))]

    name = tuple(ke.registry.METHODS)[number % len(ke.registry.METHODS)]
    fitting = ["transformer"] if subject(name) == "transformer" else [kind for kind in kinds() if kind != "transformer"]
    kind = pick(fitting if rng.random() < 0.95 else [*kinds()])
    made = _meta(int(rng.integers(40)), name)
    own = ke.registry.parameters(made.value if made else ke.registry.METHODS[name].function) or {}
    tables = {key: OWN[key] for key in OWN if key in own} | ({"layer": LAYERS} if "layer" in own else {}) | OPTIONS
    chosen = [key for key in tables if key in OFTEN or rng.random() < HOW_OFTEN.get(key, 0.1)]
    wrong = {pick(["x", "y", *tables]) for _ in range(rng.choice(3, p=[0.5, 0.4, 0.1]))}
    values = {key: pick(tables[key][0]) for key in chosen if key not in wrong}
    values |= {key: pick((*tables[key][1] * 3, *POOL)) for key in tables if key in wrong}
    if rng.random() < 0.01:
        values["nonsense"] = 1
    x = kinds()[kind][1]
    return Request(
        number, made or name, kind, pick(odd(x)) if "x" in wrong else pick(right(x)),
        {"y": pick((*UNITS[1] * 3, *POOL)) if "y" in wrong else pick(UNITS[0]), "verbose": 0, **values, "run_eagerly": True},
    )  # fmt: skip


def _meta(number: int, name: str) -> Named | None:
    """A method made of one, for the first numbers."""
    meta = ke.methods.meta
    makers = {
        "smooth": lambda: meta.smooth(name, 2),
        "tta": lambda: meta.tta(name, (0.5,)),
        "contrast": lambda: meta.contrast(name),
        "ensemble": lambda: meta.ensemble([name, "gradients"]),
        "integrate": lambda: meta.integrate(name, 2),
    }
    chosen = [*makers][number : number + 1]
    try:
        return next((Named(f"{key}({name})", makers[key]()) for key in chosen), None)
    except ExplainError:  # of a method that takes no score=
        return None


def answer(request: Request) -> tuple[str, str | None]:
    """What came of a call ("maps", or the name of the exception), and what is wrong with it."""
    model = kinds()["functional" if request.kind == "function" else request.kind][0]
    before = state(model)
    params = {key: plain(value) for key, value in request.params.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = ke.explain(plain(request.method), kinds()[request.kind][0], request.x, **params)
            made, wrong = "maps", _flaw(found, params, [str(w.message) for w in caught])
        except (ExplainError, Own) as error:
            made, wrong = type(error).__name__, None if len(str(error)) > 9 else f"an empty message: {error!r}"
        except Exception as error:
            made, wrong = type(error).__name__, f"{type(error).__name__}: {error}"
    try:
        same(before, state(model))
    except AssertionError as error:
        wrong = f"the model was changed: {error}"
    return made, wrong


def _flaw(found: Any, params: dict, messages: list[str]) -> str | None:
    """What is wrong with an explanation."""
    scores, maps = (keras.ops.convert_to_numpy(value) for value in found)
    if scores.ndim != 2 or len(scores) != len(maps) or maps.ndim < 2:
        return f"scores of shape {scores.shape}, maps of shape {maps.shape}"
    signed = params.get("reduce", "") is None
    if params.get("postprocessing") is None and maps.shape[1 if signed else -1] != scores.shape[1]:
        return f"scores of shape {scores.shape}, maps of shape {maps.shape}"
    if not (np.isfinite(scores).all() and np.isfinite(maps).all()) and not any("NaN" in text for text in messages):
        return f"NaN or infinite numbers without a warning, and of those {messages}"
    return None
