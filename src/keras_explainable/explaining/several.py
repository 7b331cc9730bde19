"""Several methods on the same images: passes that several of them need run only once."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from keras_explainable import backend, models, registry
from keras_explainable.errors import ChangedError, InputError, shortly
from keras_explainable.explaining.about import warn
from keras_explainable.explaining.program import Explaining
from keras_explainable.explaining.results import Explanation
from keras_explainable.runtime import remarks
from keras_explainable.runtime.compile_cache import Program, compiled

Labelled = dict[str, tuple[Callable, dict[str, Any]]]  # for each label a method and its own parameters


class Explanations(dict):
    """For each label of a method its `Explanation`, and in `.failed` the exceptions of the methods that raised one."""

    def __init__(self, found: Mapping[str, Explanation], failed: Mapping[str, Exception]) -> None:
        super().__init__(found)
        self.failed = dict(failed)


def chosen_methods(methods: Any) -> Labelled:
    """The methods that a list or dictionary names.

    Raises:
        InputError: it is empty, names a method twice, or one of its items is neither a method, nor its name, nor one of
            these and its parameters.
    """
    if not isinstance(methods, Mapping):
        functions = registry.methods_of(methods)
        labels = [registry.named(function) for function in functions]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise InputError(
                f"{twice} came twice in the list of methods: give a dictionary with a label for each, as in "
                f'{{"a": "{twice}", "b": ("{twice}", {{"layer": ...}})}}.'
            )
        methods = dict(zip(labels, functions, strict=True))
    if not methods:
        raise InputError("No method came, and a list or dictionary of methods was expected.")
    found = {}
    for label, given in methods.items():
        if not isinstance(label, str):
            raise InputError(f"The label {shortly(label)} came, and a text was expected for each method.")
        method, params = registry.method_and_parameters(given)
        if "score" in params:
            raise InputError(
                f"{label} has its own score=, and all methods explain the same score: give it to ke.explain."
            )
        found[label] = method, params
    return found


def for_each(chosen: Labelled, shared: Mapping[str, Any]) -> Labelled:
    """The same methods, each with its own parameters, and with those of the shared parameters that it takes.

    Raises:
        InputError: no method takes one of them.
    """
    for name in shared:
        if not any(_takes(method, name) for method, _ in chosen.values()):
            raise InputError(f"{name}= came, and none of the methods takes it: {', '.join(chosen)}.")
    return {
        label: (method, {n: v for n, v in shared.items() if _takes(method, n)} | own)
        for label, (method, own) in chosen.items()
    }


def _takes(method: Callable, name: str) -> bool:
    known = registry.parameters(method)
    return known is None or name in known


@dataclass(frozen=True)
class Together(Program):
    """Scores and maps of a batch by several methods, for each label. All explain the same score, and share a view."""

    steps: tuple[tuple[str, Explaining], ...]

    def __call__(self, model: Any, inputs: Any, indices: Any) -> dict[str, tuple]:
        view = models.view(model, inputs, indices, self.steps[0][1].score)
        calls = [functools.partial(_remarking, label, step.on) for label, step in self.steps]
        found: dict[str, tuple] = {}
        failed: dict[str, Exception] = {}
        for (label, _), result in zip(self.steps, models.together(view, calls), strict=True):
            if isinstance(result, ChangedError):
                raise result
            (failed if isinstance(result, Exception) else found)[label] = result
        if failed:
            raise Failed(failed, {} if backend.is_traced(inputs) else found)
        return found


def _remarking(label: str, method: Callable, view: models.View) -> Any:
    with remarks.labelled(label):
        return method(view)


class Failed(Exception):
    """Some of several methods raised exceptions. Holds these by label, and the results of the other methods. There are
    no results if the exceptions were raised while a program was built."""

    def __init__(self, failed: dict[str, Exception], found: dict[str, tuple]) -> None:
        self.failed, self.found = failed, found


class Several:
    """A step for several methods. It leaves out those that raise, and keeps their exceptions."""

    def __init__(self, steps: Mapping[str, Explaining]) -> None:
        self.steps, self.failed = dict(steps), dict[str, Exception]()

    def __call__(self, model: Any, images: Any, indices: Any) -> dict[str, tuple]:
        found: dict[str, tuple] = {}
        for group in registry.groups(step.method for step in self.steps.values()):
            found |= self._of(group, model, images, indices)
        if not found:
            first = next(iter(self.failed.values()))
            first.failed = self.failed  # type: ignore[attr-defined]
            raise first
        return found

    def _of(self, group: list[Callable], model: Any, images: Any, indices: Any) -> dict[str, tuple]:
        """What the methods of a group find."""
        steps = tuple((label, step) for label, step in self.steps.items() if step.method in group)
        if not steps:
            return {}
        program = Together(steps)
        try:
            if registry.traits(group[0]).repeats:
                return program(model, images, indices)
            return compiled(program, model, spread=True)(images, indices)
        except Failed as error:
            self.failed |= {label: _without_frames(one) for label, one in error.failed.items()}
            self.steps = {label: step for label, step in self.steps.items() if label not in error.failed}
            return error.found or self._of(group, model, images, indices)


def _without_frames(error: Any) -> Exception:
    """An exception without its traceback, whose frames would keep the model alive."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


class SeveralResults:
    """The results of several methods. `of` makes what collects those of one."""

    def __init__(self, labels: Iterable[str], of: Callable) -> None:
        self.of = {label: of() for label in labels}

    @property
    def filled(self) -> int:
        """The number of images that at least one method explained."""
        return max(results.filled for results in self.of.values())

    def add(self, output: dict[str, tuple], batch: tuple) -> None:
        for label, part in output.items():
            self.of[label].add(part, batch)

    def done(self) -> dict[str, Explanation]:
        """What each method has explained so far."""
        return {label: one for label in self.of if (one := self.partial(label)) is not None}

    def partial(self, label: str) -> Explanation | None:
        """What one method has explained so far; None if nothing."""
        results = self.of[label]
        return Explanation(*results.done()) if results.filled else None


def report_failed(failed: Mapping[str, Exception], results: SeveralResults) -> None:
    """Warn about methods that raised. What one had explained before is `.partial` of its exception."""
    for label, error in failed.items():
        partial = results.partial(label)
        if partial is not None:
            error.partial = partial  # type: ignore[attr-defined]
        warn([f"left out, and its exception is in `.failed`: {type(error).__name__}: {error}"], label)
