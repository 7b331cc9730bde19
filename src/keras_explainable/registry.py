"""The registry of methods: their names, and what is known about each."""

import difflib
import inspect
import weakref
from collections import UserDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from keras_explainable.costs import Cost
from keras_explainable.errors import InputError, MethodNameError, shortly

FAMILIES = {  # in the order of the list of methods, with their headings there
    "cam": "CAM",
    "gradient": "Gradient",
    "full gradient": "Full gradient",
    "propagation": "Propagation",
    "perturbation": "Perturbation",
    "attention": "Attention",
}


class Need(StrEnum):
    """What a method needs of a model."""

    SIGNAL = "hidden signal"
    HEAD = "linear head"
    ATTENTION = "attention"
    GRADIENT = "gradient"
    BIASES = "biases"
    KNOWN_LAYERS = "known layers"
    RELUS = "ReLUs"
    BLACK_BOX = "black box"


@dataclass(frozen=True)
class Traits:
    """How a method is run and described, beyond its signature."""

    repeats: bool = False  # whether it calls its own compiled programs many times, and is not compiled as a whole
    shares: str = ""  # for a method that repeats: methods with equal labels share their passes
    at_images: bool = False  # whether its maps have the grid of the images, although it takes a layer
    about: Callable | None = None  # a function from a view and the parameters to the method's own entries of `.about`
    given: Mapping[str, Any] = field(
        default_factory=dict, hash=False
    )  # parameters that were set when the method was made


@dataclass(frozen=True)
class Record:
    """What is known about a method, for tables, the command line and tests."""

    name: str
    function: Callable
    family: str
    needs: frozenset[Need]
    cost: Cost  # the most passes of the model that it takes, including rules and reductions
    reference: str
    postprocessing: Callable | None  # what its shortcut applies to the maps
    resizing: bool  # whether its shortcut resizes the maps to the size of the images
    caveat: str = ""  # a warning, such as that its maps do not depend on the unit
    traits: Traits = Traits()

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return (self.function.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")

    @property
    def needed(self) -> str:
        """What it needs, in words."""
        return ", ".join(need for need in Need if need in self.needs)

    @property
    def heading(self) -> str:
        """The heading of the family in a list of methods."""
        return f"{FAMILIES.get(self.family, self.family.capitalize())} family"


class Methods(UserDict[str, Record]):
    """The records of methods by name. Those of this library are registered when this is first read."""

    @property
    def data(self) -> dict[str, Record]:
        from keras_explainable import methods  # noqa: F401  (registers them, and imports Keras)

        return self._records

    @data.setter
    def data(self, records: dict[str, Record]) -> None:
        self._records = records


METHODS = Methods()
Method = Callable | str  # a method or its name
_traits: weakref.WeakKeyDictionary[Callable, Traits] = weakref.WeakKeyDictionary()


def register(record: Record) -> None:
    """Add a method's record to the registry. `methods.explainer.explainer` calls this for the function it decorates."""
    METHODS[record.name] = record
    _traits[record.function] = record.traits


def with_traits(**traits: Any) -> Callable:
    """A decorator that gives these `Traits` to a method that is not registered, such as one that is made from
    another."""

    def enter(method: Callable) -> Callable:
        _traits[method] = Traits(**traits)
        return method

    return enter


def traits(method: Any) -> Traits:
    """The traits of a method, or of the one that it wraps (`functools.wraps`)."""
    return _known_traits(method) or Traits()


def _known_traits(method: Any) -> Traits | None:
    while method is not None:
        try:
            if method in _traits:
                return _traits[method]
        except TypeError:  # an object that cannot be hashed or weakly referenced
            pass
        method = getattr(method, "__wrapped__", None)
    return None


def needs_of(needs: str | Iterable[str]) -> frozenset[Need]:
    """Needs by their words: "hidden signal, gradient", or several of them.

    Raises:
        InputError: there is no such need.
    """
    try:
        return frozenset(map(Need, needs.split(", ") if isinstance(needs, str) else needs))
    except (TypeError, ValueError) as error:
        known = ", ".join(repr(need.value) for need in Need)
        raise InputError(f"needs={needs!r} came, and some of {known} were expected, separated by commas.") from error


def listed() -> list[Record]:
    """All records, sorted by family and name. Families that users added come last."""
    ours = list(FAMILIES)

    def place(record: Record) -> tuple:
        known = record.family in FAMILIES
        return (ours.index(record.family) if known else len(ours), record.family, record.name)

    return sorted(METHODS.values(), key=place)


def parameters(method: Callable) -> dict[str, inspect.Parameter] | None:
    """A method's parameters after model, inputs and indices. None if it takes any parameter or has no signature."""
    try:
        found = inspect.signature(method).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return None
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in found.values()):
        return None
    return dict(list(found.items())[3:])


def named(method: Callable) -> str:
    """The name of a method, registered or not."""
    method = getattr(method, "func", method)  # a partial function has one
    return str(getattr(method, "__name__", type(method).__name__))


def takes(function: Callable, parameter: str) -> bool:
    """Whether a function has this parameter in its signature."""
    try:
        return parameter in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def accepts(function: Any, *given: Any, **named: Any) -> bool:
    """Whether this is a function that can be called with these arguments. True if it has no signature."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*given, **named)
    except TypeError:
        return False
    except ValueError:  # some built-in functions have no signature
        return True
    return True


def of_layer(method: Callable) -> bool:
    """Whether a method's maps have the grid of a hidden signal, not that of the images."""
    return takes(method, "layer") and not traits(method).at_images


def with_parameters_of(*methods: Callable, but: Sequence[str] = ()) -> Callable:
    """A decorator for a method that is built from other methods. In its signature, the parameters that all of the
    others take replace `**params`. `score` is removed if one of the others does not take it."""
    signatures = [parameters(method) for method in methods]
    known = [own for own in signatures if own is not None]

    def enter(method: Callable) -> Callable:
        own = inspect.signature(method)
        mine = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        if len(known) == len(signatures):
            taken = set.intersection(*map(set, known))
            mine = [p for p in mine if p.name != "score" or "score" in taken]
            shared = taken - {*but, *(p.name for p in mine)}
            theirs = [p.replace(kind=p.KEYWORD_ONLY) for name, p in known[0].items() if name in shared]
            method.__signature__ = own.replace(parameters=[*mine, *theirs])  # type: ignore[attr-defined]
        return method

    return enter


def get(name: str) -> Any:
    """The method with this name.

    Raises:
        MethodNameError: no method has this name. The message lists the known names, the nearest ones first.
    """
    if name not in METHODS:
        near = nearest(name)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        raise MethodNameError(f"No method is named {name!r}.{hint} There are: {', '.join(METHODS)}.")
    return METHODS[name].function


def groups(methods: Iterable[Callable]) -> list[list[Callable]]:
    """Groups of methods that share passes of the model. A method that shares nothing is a group of its own."""
    found: dict[Hashable, list[Callable]] = {}
    for method in methods:
        found.setdefault(group_of(method), []).append(method)
    return list(found.values())


def group_of(method: Callable) -> Hashable:
    """A key that is equal for methods that share passes of the model."""
    own = _known_traits(method)
    alone = own is None or own.repeats  # which passes a user's function needs is not known
    return (own and own.shares) or (id(method) if alone else "passes")


def usual_postprocessing(method: Callable) -> Callable | None:
    """What the shortcut of a registered method applies to its maps; None for any other function."""
    found = (record.postprocessing for record in METHODS.values() if record.function is method)
    return next(found, None)


def nearest(name: str) -> list[str]:
    """At most three names of methods that the user may have meant, the nearest first. Case, hyphens, underscores and
    spaces are ignored, and a + stands for the p of `gradcampp`."""
    plain = {_plain(known): known for known in METHODS}
    return [plain[near] for near in difflib.get_close_matches(_plain(str(name)), plain)]


def _plain(name: str) -> str:
    return name.lower().replace("+", "p").translate(str.maketrans("", "", "-_ "))


def method_of(method: Method) -> Callable:
    """The method, given itself or its name.

    Raises:
        InputError: it is neither.
    """
    if isinstance(method, str):
        return get(method)
    if not callable(method):
        raise InputError(
            f'{described(method)} came, and a method or its name was expected: ke.get("gradcam") or "gradcam".'
        )
    return method


def method_and_parameters(given: Any) -> tuple[Callable, dict[str, Any]]:
    """The method and its parameters, given a method, its name, or (one of these, its parameters).

    Raises:
        InputError, MethodNameError: it is neither of these.
    """
    if _has_parameters(given):
        return method_of(given[0]), dict(given[1])
    return method_of(given), {}


def is_method(given: Any) -> bool:
    """Whether something has the form of a method, its name, or (one of these, its parameters)."""
    return isinstance(given, str) or callable(given) or _has_parameters(given)


def _has_parameters(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[1], Mapping)


def methods_of(methods: Iterable[Method]) -> list[Callable]:
    """The methods, given a list of methods or names.

    Raises:
        InputError: this is not a list, or one of its items is not a method.
    """
    if isinstance(methods, str) or not isinstance(methods, Iterable):
        raise InputError(
            f"{described(methods)} came, and several methods were expected: give a list, as in "
            'ensemble(["gradcam", "layercam"]).'
        )
    return [method_of(method) for method in methods]


def described(value: Any) -> str:
    """A short description of a value."""
    return shortly(value) if isinstance(value, (str, int, float, type(None))) else f"A {type(value).__name__}"
