"""The decorator that turns a function of a case and maps into a public, registered metric."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Literal

from keras_explainable.metrics.measuring import Measured, measure
from keras_explainable.metrics.record import METRICS, MetricNeed, MetricRecord

SHARED = "The other parameters, and the `Measured` that is returned, are those of all metrics: help(ke.metrics)."


def metric(
    group: str, needs: Iterable[str], better: Literal["higher", "lower", ""], cost: str, chance: str, reference: str
) -> Callable:
    """A decorator that registers a metric.

    The decorated function is `metric(case, maps, ...) -> Measured`, with a `Case` and NumPy maps (B, *S, K). It is
    replaced by the public function `metric(model, x, y, maps, ...)`, which makes the cases (see `ke.metrics`).

    Args:
        group, needs, better, cost, chance, reference: see `MetricRecord`.
    """

    def enter(of_case: Callable) -> Callable:
        wanted = frozenset(map(MetricNeed, needs))

        def public(model: Any = None, x: Any = None, y: Any = None, maps: Any = None, **given: Any) -> Measured:
            return measure(METRICS[of_case.__name__], model, x, y, maps, **given)

        own = list(inspect.signature(of_case).parameters.values())[2:]
        first = list(inspect.signature(public).parameters.values())[:-1]
        shared = list(inspect.signature(measure).parameters.values())[5:-1]
        by_name = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own, *shared)]
        public.__signature__ = inspect.Signature([*first, *by_name], return_annotation=Measured)  # type: ignore[attr-defined]
        for name in ("__module__", "__name__", "__qualname__"):
            setattr(public, name, getattr(of_case, name))
        public.__doc__ = f"{inspect.cleandoc(of_case.__doc__ or '')}\n\n{SHARED}"
        METRICS[of_case.__name__] = MetricRecord(
            of_case.__name__, public, of_case, group, wanted, better, cost, chance, reference
        )
        return public

    return enter
