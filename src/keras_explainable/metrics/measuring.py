"""Apply a metric to many images and their maps, batch by batch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_explainable import models
from keras_explainable.errors import InputError, keep_partial
from keras_explainable.explaining.arguments import check_seed
from keras_explainable.explaining.checks import counted_units, number_of, open_batches
from keras_explainable.explaining.loop import run_steps, units_and_score
from keras_explainable.explaining.scope import model_scope
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.explained import Explain, check_same
from keras_explainable.metrics.inputs import (
    check_own,
    check_weights,
    maps_of,
    masks_of,
    objects_of,
    part_of,
    spatial_last,
)
from keras_explainable.metrics.record import MetricRecord
from keras_explainable.runtime.compile_cache import Program

ROWS = 64  # maps that are measured together where no model runs


@dataclass(frozen=True)
class Measured:
    """The values of a metric.

    Args:
        values: a value for each image and unit, (N, K). NaN where the metric is not defined.
        curves: the curves that the values were computed from, if there are any: arrays (N, K, T) by name.
        about: the metric, its parameters, how many values are not defined, and means over images of further values that
            the metric reports. (The metric itself returns these as arrays with a value for each image.)
    """

    values: np.ndarray
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """A summary in one line, since the arrays can be long."""
        values = np.asarray(self.values)
        known = values[~np.isnan(values)]
        parts = [f"values {values.shape}" + (f" from {known.min():.3g} to {known.max():.3g}" if known.size else "")]
        parts += [f"{values.size - known.size} undefined"]
        parts += [f"curves {', '.join(self.curves)}"] if self.curves else []
        return f"Measured({self.about.get('metric', 'a metric')}: {'; '.join(parts)})"


def measure(
    metric: MetricRecord,
    model: Any,
    x: Any,
    y: Any,
    maps: Any,
    score: Any = None,
    masks: Any = None,
    others: Any = None,
    objects: Any = None,
    explain: Any = None,
    batch_size: int | None = None,
    verbose: int | str = 0,
    steps: int | None = None,
    callbacks: Any = None,
    seed: int | None = None,
    at_once: int | None = None,
    run_eagerly: bool | None = None,
    jit_compile: bool | None = None,
    precision: str | None = None,
    leaf: Any = None,
    shared: Any = None,
    channels: int | str | None = None,
    **own: Any,
) -> Measured:
    """A metric's value for each image and unit (see `ke.metrics`).

    Raises:
        InputError: what the metric needs was not given, or maps, masks, images and units do not fit together. For
            arrays this is raised before any computation.
    """
    check_seed(seed)
    check_own(metric, own, {"model": model, "images": x, "masks": masks, "objects": objects, "method": explain})
    check_weights(metric, model)
    made = maps is None and explain is not None and "model" in metric.needs
    maps = None if made else maps_of(maps)
    masks, others = (None if given is None else masks_of(given, maps_of(maps)) for given in (masks, others))
    step = Measuring(metric.of_case, own, score, seed or 0, at_once)
    if "model" not in metric.needs:
        found = _without_model(step, None if x is None else spatial_last(x, maps), maps, masks, others)
        return _joined(metric, own, list(found))

    y, step_score = units_and_score(y, score)
    again = None if explain is None else Explain.of(explain, seed or 0)
    step = Measuring(metric.of_case, own, step_score, seed or 0, at_once, again)
    model, leaf = models.with_channels(model, channels, False), models.Leaf.of(leaf, shared)
    with model_scope(model, precision, run_eagerly, jit_compile):
        source, total = open_batches(model, x, y, batch_size, step_score, leaf, steps)
        if total is not None and maps is not None:
            check_maps(model, x, y, step_score, maps, total)
        if objects is not None:
            objects = objects_of(objects, maps_of(maps), models.adapter(model).channels_first)
        given = {"masks": masks, "objects": objects}
        source = source._replace(iterator=_with_rows(source.iterator, maps, given))
        parts: list[dict] = []
        try:
            for _, part in run_steps(step, False, model, source, verbose, callbacks, lambda value: value):
                parts.append(part)
        except (Exception, KeyboardInterrupt) as error:
            if parts:
                done = _joined(metric, own, parts)
                keep_partial(error, done, f"{len(done.values)} images had been measured")
            raise
    return _joined(metric, own, parts)


@dataclass(frozen=True)
class Measuring(Program):
    """A metric on a batch of images, units, maps and masks. Without maps, `explain` makes them."""

    metric: Callable
    params: dict[str, Any]
    score: Any
    seed: int
    at_once: int | None
    explain: Explain | None = None

    def __call__(
        self, model: Any, images: Any, indices: Any, maps: np.ndarray | None, given: Mapping[str, Any]
    ) -> dict:
        view = models.view(model, images, indices, self.score)
        case = Case.of(view, **given, seed=self.seed, at_once=self.at_once, explain=self.explain)
        if self.explain is not None and case.view is not None:
            own = self.explain(case.view)
            if maps is not None:
                check_same(maps, own, self.explain)
            maps = maps_of(own)
        return self.of_case(case, maps_of(maps))

    def of_case(self, case: Case, maps: np.ndarray) -> dict:
        """The values and curves of a case, and what it reports of each image."""
        found = self.metric(case, maps, **self.params)
        return {"values": found.values, "curves": found.curves, "about": found.about}


def _without_model(step: Measuring, images: Any, maps: np.ndarray, *given: Any) -> Iterator[dict]:
    for start in range(0, len(maps), ROWS):
        part = slice(start, start + ROWS)
        seen, masks, others = (None if rows is None else rows[part] for rows in (images, *given))
        case = Case(images=seen, masks=masks, others=others, seed=step.seed)
        yield step.of_case(case, maps[part])


def _with_rows(batches: Iterator[tuple], maps: np.ndarray | None, given: Mapping[str, Any]) -> Iterator[tuple]:
    """Each batch with its maps, None if they are not known, and its part of what else was given."""
    start = 0
    for images, indices in batches:
        part = slice(start, start + len(images))
        start += len(images)
        if maps is None:
            yield images, indices, None, {}
            continue
        if start > len(maps):
            raise InputError(f"{len(maps)} maps came, and images {start} or more: give a map for each image.")
        yield images, indices, maps[part], {name: part_of(rows, part) for name, rows in given.items()}
    if maps is not None and start < len(maps):
        raise InputError(f"{len(maps)} maps came for {start} images: give a map for each image, and no more.")


def check_maps(model: Any, x: Any, y: Any, score: Any, maps: np.ndarray, total: int) -> None:
    """Raise if maps do not have the number, the size and the units of the images."""
    first = x[:1] if hasattr(x, "shape") else np.asarray(x[:1])
    size = tuple(models.size(*models.bind(model, first)))
    units = number_of(y) if y is not None else counted_units(model, first, score)
    expected = (total, *size, maps.shape[-1] if units is None else units)
    if maps.shape != expected:
        raise InputError(
            f"Maps of shape {maps.shape} came, and {expected} was expected: (images, *their size, units)."
            f"{_hint(maps.shape, size, expected[-1])}"
        )


def _hint(shape: tuple[int, ...], size: tuple[int, ...], units: int) -> str:
    """How to make maps of this shape fit images of this size, in a sentence."""
    if shape[1:] == size:
        return " Add the axis of units first: maps[..., None]."
    if shape[1:-1] == size:
        several = units == 1 and shape[-1] > 1
        return " If these are channels, add them up: maps.sum(-1)[..., None]." if several else ""
    if shape[2:] == size:
        return " Add up the channels first: maps.sum(1)[..., None]."
    return " Resize maps first, as ke.explain does with resizing=True."


def _joined(metric: MetricRecord, own: dict[str, Any], parts: list[dict]) -> Measured:
    """The values of all batches."""
    whole = keras.tree.map_structure(lambda *rows: np.concatenate([np.asarray(row) for row in rows]), *parts)
    values = whole["values"].astype("float64")
    found = {name: float(rows.mean()) for name, rows in whole["about"].items()}
    return Measured(
        values, whole["curves"], {"metric": metric.name, **own, "undefined": int(np.isnan(values).sum()), **found}
    )
