"""Which methods and metrics an evaluation has."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from keras_explainable import registry
from keras_explainable.errors import InputError
from keras_explainable.metrics.baselines import oracle
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.explained import Explain, Unmodelled
from keras_explainable.metrics.inputs import check_parameters, maps_of, needed
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.record import METRICS, MetricNeed, MetricRecord

FEW = ("gradcam", "layercam", "input_x_gradient", "integrated_gradients", "full_gradients", "occlusion")
DEFAULT: dict[str, tuple[str, dict[str, Any]]] = {
    "srg": ("srg", {}),
    "srg (blur)": ("srg", {"fill": "blur"}),
    "faithfulness_correlation": ("faithfulness_correlation", {}),
    "random_logit": ("random_logit", {}),
    "entropy": ("entropy", {}),
}
WITH_MASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "mass_accuracy": ("mass_accuracy", {}),
    "pointing_game": ("pointing_game", {}),
}


@dataclass(frozen=True)
class Row:
    """A row of the table: a method with parameters, maps that were given, or a baseline. A baseline without a function
    is the oracle (see `metrics.baselines.oracle`)."""

    name: str
    method: Callable | None = None
    params: dict[str, Any] = field(default_factory=dict)
    given: np.ndarray | None = None
    baseline: Callable | None = None

    @property
    def is_baseline(self) -> bool:
        return self.method is None and self.given is None

    def made(self, case: Case, units: int, start: int, seed: int) -> np.ndarray:
        """The maps (B, *S, K) of a case whose first image has the number `start`, for a row without a method."""
        assert case.images is not None
        if self.given is not None:
            return self.given[start : start + len(case.images)]
        if self.baseline is not None:
            return self.baseline(case.images, units, start, seed)
        return oracle(case, units)

    def explain(self, case: Case, units: int, start: int, seed: int) -> Callable | None:
        """A function that makes the maps of changed images or models of a case; None if only maps were given. See
        `made`."""
        if self.method is not None:
            return Explain(self.method, self.params)
        if self.given is not None:
            return None
        assert case.view is not None
        return Unmodelled(
            lambda images, k, s: self.made(replace(case, images=images), k, start, s), case.view.indices, units, seed
        )


@dataclass(frozen=True)
class Applied:
    """A metric with parameters, as a function of a case and maps. Maps that were given have no value of a metric that
    needs the method."""

    record: MetricRecord
    params: dict[str, Any]

    def __call__(self, case: Any, maps: np.ndarray) -> Measured:
        if MetricNeed.method in self.record.needs and case.explain is None:
            return Measured(np.full((len(maps), maps.shape[-1]), np.nan))
        return self.record.of_case(case, maps, **self.params)


def chosen_methods(methods: Any, seed: int) -> dict[str, Row]:
    """The rows of the table by name.

    Raises:
        InputError, MethodNameError: `methods` are not methods.
    """
    if methods is None:
        methods = FEW
    if isinstance(methods, str):
        methods = [r.name for r in registry.listed()] if methods == "all" else [methods]
    if methods == {}:
        raise InputError("methods={} came, and a dictionary from names for the table to methods or maps was expected.")
    if not isinstance(methods, Mapping):
        methods = {registry.named(m): m for m in map(registry.method_of, _several("methods", methods))}
    return {str(name): _row(str(name), given, seed) for name, given in methods.items()}


def _row(name: str, given: Any, seed: int) -> Row:
    if registry.is_method(given):
        found = Explain.of(given, seed)
        return Row(name, found.method, found.params)
    return Row(name, given=maps_of(given))


def chosen_metrics(metrics: Any, available: Collection[str]) -> dict[str, Applied]:
    """The columns of the table by name.

    Raises:
        InputError: `metrics` are not metrics, or one needs masks that were not given.
    """
    if isinstance(metrics, str):
        metrics = [metrics]
    if not isinstance(metrics, Mapping):
        usual = DEFAULT | (WITH_MASKS if "masks" in available else {})
        named: dict[str, Any] = {}
        for given in _several("metrics", metrics):
            named |= usual if isinstance(given, str) and given == "default" else {_name(given): given}
        metrics = named
    found = {}
    for name, given in metrics.items():
        known, params = given if isinstance(given, tuple) and len(given) == 2 else (given, {})
        known = _name(known)
        if known not in METRICS:
            raise InputError(f"No metric is named {known!r}. There are: {', '.join(METRICS)}.")
        record = METRICS[known]
        check_parameters(record, params)
        for need in {MetricNeed.masks, MetricNeed.objects} & record.needs:
            if need not in available:
                raise InputError(needed(record, [need]))
        found[str(name)] = Applied(record, dict(params))
    return found


def _name(metric: Any) -> str:
    """The name of a metric, which may be its function."""
    return str(getattr(metric, "__name__", metric))


def _several(name: str, given: Any) -> list:
    if not isinstance(given, Iterable) or not (found := list(given)):
        raise InputError(f"{name}={given!r} came, and a list of {name} was expected.")
    return found
