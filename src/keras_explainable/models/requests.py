"""The passes of a model that methods ask for: the scores, and the signals and gradients at some points."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from keras_explainable import backend
from keras_explainable.models import reachability
from keras_explainable.models.overrides import Overrides
from keras_explainable.models.trace import Point


@dataclass(frozen=True, eq=False)
class Pass:
    """A pass of the model on a view's images: the scores, and what is found at the points `at`.

    The answer is (scores, signals by point, gradients by point). One pass of the model answers all requests with the
    same overrides.

    Args:
        column: what is kept of one unit's gradient at a point: `column(point, gradient, signal)`. None if no gradient
            is needed.
        keep: whether the signals are returned, and given to `column`.
        same: passes with the same value, other than None, keep the same of a gradient.
    """

    at: tuple[Point, ...]
    column: Callable | None = None
    keep: bool = True
    overrides: Overrides | None = None
    same: Hashable = None

    @property
    def group(self) -> Hashable:
        return "pass", self.overrides

    @property
    def key(self) -> Hashable:
        if self.column is not None and self.same is None:
            return None
        return self.overrides, self.at, self.keep, self.same

    def answers(self, view: Any, requests: Sequence["Pass"]) -> list:
        """One pass, with gradients at the points of those that need them."""
        graded = [request for request in requests if request.column is not None]
        run = view.runner(_points(requests), overrides=self.overrides)
        if not graded:
            scores, values = backend.evaluate(run, view.inputs)
            return [_answer(view, request, scores, values) for request in requests]
        at, keep = _points(graded), frozenset(_points(r for r in requests if r.keep or r.column is None))
        columns: dict[Point, dict] = {point: {} for point in at}
        for request in graded:
            for point in request.at:
                columns[point].setdefault(request._column, request.column)

        def reduce(point: Point, gradient: Any, value: Any) -> tuple:
            return tuple(column(point, gradient, value) for column in columns[point].values())

        scores, values, found, with_gradient = backend.jacobian(run, view.inputs, at, reduce, keep)
        gradients = {point: dict(zip(columns[point], parts, strict=True)) for point, parts in found.items()}
        return [_answer(view, request, scores, values, gradients, with_gradient) for request in requests]

    @property
    def _column(self) -> Hashable:
        """Equal for passes that keep the same of a gradient."""
        return id(self) if self.same is None else self.same


def _points(requests: Iterable[Pass]) -> list[Point]:
    return list(dict.fromkeys(point for request in requests for point in request.at))


def _answer(
    view: Any, request: Pass, scores: Any, values: dict, gradients: dict | None = None, with_gradient: Any = ()
) -> Any:
    """What a pass found, for one request; or the exception that says why it cannot be answered."""
    graded = request.column is not None and gradients is not None
    try:
        reachability.check_seen(view, request.at, gradients if graded else values)  # type: ignore[arg-type]
        if graded:
            reachability.check_reached(view, request.at, with_gradient)
    except Exception as error:
        return error
    kept = {point: values[point] for point in request.at if point in values} if request.keep else {}
    found = {point: gradients[point][request._column] for point in request.at} if graded else {}  # type: ignore[index]
    return scores, kept, found
