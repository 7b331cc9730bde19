"""What is computed for a page: the top classes of an image, and the map of a method."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

import keras_explainable as ke
from keras_explainable import errors, inspection, loading, registry
from keras_explainable.web.lanes import LONG, QUICK
from keras_explainable.web.refusals import Refused

TOP = 5
MOST_REPETITIONS = 1000
FEW = {"forward", "backward", "tail", "K"}  # what the cost of a quick method is made of
# What a model may lack, so that a method is tried before it is offered.
TRIED = {"attention", "linear head", "known layers", "ReLUs", "biases"}


@dataclass(frozen=True)
class Asked:
    """A map: of an image (by the name of its content), by a method, of a unit, perhaps against another unit."""

    image: str
    method: str
    unit: int
    against: int | None = None
    layer: str | None = None
    most: int = 200  # repetitions, or channels of a method that takes them one by one

    @property
    def lane(self) -> str:
        """Long if its cost depends on more than the passes of a gradient, or another score must be compiled."""
        record = registry.METHODS[self.method]
        return QUICK if record.cost.letters <= FEW else LONG

    @classmethod
    def of(cls, given: dict[str, Any], layers: Any) -> "Asked":
        """What a request asks for. Each value is checked against what is known; none is a path or a module.

        Raises:
            Refused: a value is not known or has another type.
        """
        method, layer = given.get("method"), given.get("layer") or None
        if not isinstance(method, str) or method not in registry.METHODS:
            raise Refused("There is no such method.")
        if not isinstance(given.get("image"), str):
            raise Refused("An image was expected.")
        if layer is not None and not (isinstance(layer, str) and layer in layers):
            raise Refused("The model has no such layer, or its layers are not measured yet.")
        if layer is not None and not registry.takes(registry.get(method), "layer"):
            raise Refused(f"{method} explains the whole model, not one layer.")
        unit, most = _number(given, "unit", 1 << 31), _number(given, "most", MOST_REPETITIONS, cls.most)
        most = max(1, most) if repeating(method) else cls.most  # the same map, whatever was given
        against = None if given.get("against") is None else _number(given, "against", 1 << 31)
        if unit == against:
            raise Refused("A unit cannot be contrasted with itself.")
        return cls(given["image"], method, unit, against, layer, most)


def _number(given: dict[str, Any], name: str, most: int, default: int | None = None) -> int:
    value = given.get(name, default)
    if type(value) is not int or not 0 <= value <= most:
        raise Refused(f"{name}: a whole number from 0 to {most:,} was expected.")
    return value


def repeating(method: str) -> dict[str, int | None]:
    """The parameters that set how often a method repeats, with their usual values. None is once for each channel."""
    taken = registry.parameters(registry.get(method)) or {}
    return {key: taken[key].default for key in ("repetitions", "max_channels") if key in taken}


def few(method: str, most: int) -> dict[str, int]:
    """Those of these parameters that are more than `most` by themselves, as `most`."""
    return {key: most for key, usual in repeating(method).items() if usual is None or usual > most}


def explained(loaded: Any, pixels: np.ndarray, asked: Asked) -> np.ndarray:
    """The map (H, W) of an image that has the model's size, as `ke.gradcam(...)` returns it."""
    params: dict[str, Any] = few(asked.method, asked.most)
    if asked.layer is not None:
        params["layer"] = asked.layer
    y: Any = np.array([[asked.unit]])
    if asked.against is not None:
        y, params["score"] = None, ke.scores.margin(asked.unit, asked.against)
    method = getattr(ke, asked.method)
    maps = method(loaded.model, loaded.preprocess(pixels[None]), y, verbose=0, **params).maps
    return np.ascontiguousarray(maps[0, ..., 0], "<f4")


def top(loaded: Any, pixels: np.ndarray) -> dict[str, Any]:
    """The number of units, and those that the model scores highest, with their names."""
    found = loading.scores(loaded, loaded.preprocess(pixels[None]))[0]
    best = np.argsort(-found)[:TOP]
    names = loaded.class_names or {}
    shown = [{"unit": int(u), "name": names[u] if names else f"unit {u}", "score": _finite(found[u])} for u in best]
    return {"units": len(found), "top": shown}


def _finite(score: Any) -> float | None:
    return float(score) if np.isfinite(score) else None  # JSON has no NaN


def layers(loaded: Any) -> dict[str, list[int]]:
    """The layers that have places in the image, in the order in which they run, with the shapes of their signals."""
    blank = loaded.preprocess(np.zeros((1, *loaded.size, 3), "uint8"))
    found = inspection.signals(loaded.model, blank)
    return {s.path: [int(n) for n in s.shape[1:]] for s in found if s.reading or len(s.shape) == 4}


def unmet(loaded: Any, method: str) -> str:
    """Why a method cannot explain this model; empty if it can, or if only running it shows that."""
    if method == "xrai":
        lacks = find_spec("skimage") is None
        return 'It needs scikit-image, which is missing: pip install "keras-explainable[regions]"' if lacks else ""
    function, blank = registry.get(method), loaded.preprocess(np.zeros((1, *loaded.size, 3), "uint8"))

    def once(done: int, of: int | None) -> None:
        raise ke.errors.Stopped

    try:
        with ke.progress.listening(once):
            if ke.backend.name != "torch":  # which would compile: its program is only traced
                ke.backend.trace(lambda x: function(loaded.model, x, 0), blank.shape, "float32")
            else:
                function(loaded.model, blank, 0)
    except (errors.LayerError, errors.BackendError) as error:
        return errors.printable(error)
    except (Exception, ke.errors.Stopped):  # such as what cannot be traced, or began to repeat: this is no reason
        pass
    return ""


def tried() -> list[str]:
    """The methods that need what a model may lack."""
    return [r.name for r in ke.methods.list() if TRIED & {str(need) for need in r.needs} or r.name == "xrai"]
