"""`evaluate`: the values of metrics for the maps of several methods on the same images."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_explainable import data, models
from keras_explainable.errors import ExplainError, InputError, keep_partial
from keras_explainable.evaluation import curves
from keras_explainable.evaluation.budget import ROWS, timed
from keras_explainable.evaluation.evaluation import Evaluation
from keras_explainable.evaluation.maps import Maps
from keras_explainable.evaluation.selection import Applied, Row, chosen_methods, chosen_metrics
from keras_explainable.explaining.arguments import check_seed
from keras_explainable.explaining.batch_step import unit_numbers
from keras_explainable.explaining.checks import open_batches
from keras_explainable.explaining.loop import units_and_score
from keras_explainable.explaining.scope import model_scope
from keras_explainable.metrics.baselines import BASELINES
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.inputs import check_weights, maps_of, masks_of, objects_of, part_of
from keras_explainable.metrics.measuring import Measured, check_maps
from keras_explainable.metrics.statistics import numbered
from keras_explainable.runtime import warning

PILOT = 4  # images that are timed before the work


def evaluate(
    model: Any,
    x: Any,
    y: Any = None,
    methods: Any = None,
    metrics: Any = "default",
    masks: Any = None,
    groups: Any = None,
    baselines: bool = True,
    seed: int = 0,
    minutes: float | None = None,
    *,
    others: Any = None,
    objects: Any = None,
    score: Any = None,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    at_once: int | None = None,
    precision: str | None = None,
    run_eagerly: bool | None = None,
    jit_compile: bool | None = None,
    leaf: Any = None,
    shared: Any = None,
    channels: int | str | None = None,
) -> Evaluation:
    """Measure the maps of several methods by several metrics on the same images.

    Args:
        model, x, y, score, batch_size, at_once, precision, run_eagerly, jit_compile, leaf, shared, channels: as in
            `ke.explain`. `x` is read once for each method: an array, a list, or a dataset that can be read again.
        methods: names or functions in a list; or a dictionary of these, of (method, its parameters), or of maps
            (N, *S, K) of any library, by the name that the table shows. "all" takes each registered method, and None a
            few from different families. A method that cannot explain this model is left out; `about["left_out"]` says
            why.
        metrics: names or functions in a list; or a dictionary of these, or of (name, its parameters), by the name that
            the table shows. "default" takes `srg` with two fills, `faithfulness_correlation`, `random_logit` and
            `entropy`, and with masks `mass_accuracy` and `pointing_game`; others can follow it in a list. Metrics that
            need the method, such as `random_logit`, have no value for maps of other libraries.
        masks: where the object is, (N, *S) or (N, *S, K).
        groups: (N,), the scene or photo of each image. Images of one group are resampled together.
        baselines: also measure maps that know nothing of the model, and the "oracle": with objects, what the score
            loses without each, spread over its pixels; else with masks, the mask itself.
        seed: the seed of the methods, metrics, baselines and intervals.
        minutes: about how long this may take. Each method and each metric is timed on the first images. The number of
            images is then reduced to fit into the rest of the time, and is in `about["images"]`. None measures all
            images.
        others: where all other objects are, as `masks`, for `class_selectivity`.
        objects: (masks, images redrawn without each object), for `single_deletion` (see `ke.metrics`).
        verbose: 0 shows no progress.

    Returns:
        An `Evaluation`: `values` (methods, metrics, N, K), `summary()`, `compare(a, b, metric)`, `to_csv(path)`,
        `to_pandas()`, `plot()`, `to_html(path)`.

    Raises:
        InputError: the arguments do not fit, or no method can explain this model. After Ctrl-C or an error, `.partial`
            of the exception has the methods that were measured.
    """
    check_seed(seed)
    if minutes is not None and not (isinstance(minutes, (int, float)) and minutes > 0):
        raise InputError(f"minutes={minutes!r} came, and a number above 0, or None, was expected.")
    y, score = units_and_score(y, score)
    rows = chosen_methods(methods, seed)
    given = {"masks": masks, "others": others, "objects": objects}
    wanted = chosen_metrics(metrics, {name for name, rows in given.items() if rows is not None})
    model, leaf = models.with_channels(model, channels, False), models.Leaf.of(leaf, shared)
    for applied in wanted.values():
        check_weights(applied.record, model)
    if isinstance(x, Iterator):
        raise InputError(
            f"x is a {type(x).__name__}, which can be read only once, and each method reads the images: give an array, "
            "a list, or a dataset."
        )
    run = _Run(model, x, y, score, leaf, batch_size, masks, others, objects, seed, at_once)
    _check(run, rows, groups)
    if baselines:
        known = {name: Row(name, baseline=function) for name, function in BASELINES.items()}
        known |= {"oracle": Row("oracle", baseline=None)} if masks is not None or objects is not None else {}
        if taken := [name for name in rows if name in known]:
            raise InputError(
                f"methods= came with {taken[0]!r}, and {taken[0]!r} is the name of a baseline: choose another name, or "
                "baselines=False."
            )
        rows |= known
    with model_scope(model, precision, run_eagerly, jit_compile):
        return _measured(run, rows, wanted, groups, minutes, verbose)


@dataclass
class _Run:
    """What is the same for all methods. `kept` holds, for each batch, what metrics share."""

    model: Any
    x: Any
    y: Any
    score: Any
    leaf: Any
    batch_size: int | None
    masks: Any
    others: Any
    objects: Any
    seed: int
    at_once: int | None
    kept: list[dict] = field(default_factory=list)

    def source(self, images: int | None) -> tuple[data.Batches, int | None]:
        """The batches, of at most this many images."""
        x, y = self.x, self.y
        if images is not None:
            x = x[:images]
            y = y[:images] if hasattr(y, "shape") and np.ndim(y) else y
        return open_batches(self.model, x, y, self.batch_size, self.score, self.leaf)


@dataclass(frozen=True)
class _Found:
    """What was measured of a method: values (metrics, N, K), and by metric the curves."""

    values: np.ndarray
    curves: dict[str, dict[str, curves.Curve]]

    @classmethod
    def of(cls, batches: Iterator[list[Measured]], wanted: dict[str, Applied]) -> "_Found":
        """All batches together."""
        parts, kept = [], {metric: dict[str, curves.Curve]() for metric in wanted}
        for batch in batches:
            parts.append(np.stack([measured.values for measured in batch]))
            for metric, measured in zip(wanted, batch, strict=True):
                curves.add(kept[metric], measured.curves)
        return cls(np.concatenate(parts, axis=1), kept)


def _check(run: _Run, rows: dict[str, Row], groups: Any) -> None:
    """Raise, before any work, if maps, masks or groups do not fit the images. Batches are checked as they come."""
    if not hasattr(run.x, "shape"):
        return
    _, total = run.source(None)
    number = total or len(run.x)
    if groups is not None:
        numbered(groups, number)
    for row in rows.values():
        if row.given is not None:
            check_maps(run.model, run.x, run.y, run.score, row.given, number)
    size = tuple(models.size(*models.bind(run.model, run.x[:1])))
    for given in (run.masks, run.others):
        if given is not None:
            shape = np.shape(given)
            units = shape[-1] if len(shape) == len(size) + 2 and shape[1:-1] == size else 1
            masks_of(given, np.broadcast_to(np.float32(0), (number, *size, units)))
    if run.objects is not None:
        like = np.broadcast_to(np.float32(0), (number, *size, 1))
        run.objects = objects_of(run.objects, like, models.adapter(run.model).channels_first)


def _measured(
    run: _Run, rows: dict[str, Row], wanted: dict[str, Applied], groups: Any, minutes: float | None, verbose: Any
) -> Evaluation:
    """The values of all methods that can explain the model."""
    found: dict[str, _Found] = {}
    about: dict[str, Any] = {"seed": run.seed, "left_out": {}, "seconds": {}}
    about |= {"backend": keras.backend.backend(), "versions": {"keras": keras.__version__, "numpy": np.__version__}}
    about["params"] = {name: row.params for name, row in rows.items() if row.params}
    images: int | None = None
    progress = keras.utils.Progbar(len(rows), verbose=1 if verbose == "auto" else int(verbose), unit_name="method")
    try:
        if minutes is not None:
            images = _affordable(run, rows, wanted, 60 * minutes)
            if images < len(run.x):
                about["images"] = images
        made = Maps(run, rows if minutes is None else {})  # with minutes=, steps were compiled one by one
        for number, (name, row) in enumerate(rows.items(), 1):
            made.make(row)
            start = time.perf_counter()
            try:
                found[name] = _Found.of(_values(run, made, row, wanted, images), wanted)
            except ExplainError as error:
                if row.given is not None or row.is_baseline:
                    raise
                about["left_out"][name] = str(error)
            about["seconds"][name] = time.perf_counter() - start + made.seconds.get(name, 0.0)
            progress.update(number)
    except (Exception, KeyboardInterrupt) as error:
        if found:
            done = _evaluation(found, wanted, rows, groups, about)
            keep_partial(error, done, f"{len(found)} methods had been measured")
        raise
    return _evaluation(found, wanted, rows, groups, about)


def _evaluation(found: dict, wanted: dict[str, Applied], rows: dict[str, Row], groups: Any, about: dict) -> Evaluation:
    if not any(name in found for name, row in rows.items() if not row.is_baseline) and about["left_out"]:
        name, why = next(iter(about["left_out"].items()))
        raise InputError(f"No method can explain this model. {name}: {why}")
    values = np.stack([one.values for one in found.values()])
    groups = None if groups is None else np.asarray(groups)[: values.shape[2]]
    drawn = {m: {name: one.curves[m] for name, one in found.items() if one.curves[m]} for m in wanted}
    known = {name: row.is_baseline for name, row in rows.items()}
    return Evaluation(values, list(found), list(wanted), known, wanted, groups, about, drawn)


def _values(
    run: _Run, made: Maps, row: Row, wanted: dict[str, Applied], images: int | None
) -> Iterator[list[Measured]]:
    """What each metric measures on each batch."""
    start = 0
    for number, (batch, indices, maps) in enumerate(made.of(row, images)):
        if len(run.kept) <= number:
            run.kept.append({})
        model, first = models.bind(run.model, batch)
        with models.steady(model):
            view = models.view(model, first, unit_numbers(model, first, indices), run.score)
            part = slice(start, start + len(batch))
            start += len(batch)
            case = Case.of(view, seed=run.seed, at_once=run.at_once, kept=run.kept[number])
            count = _units(case)
            assert case.images is not None and case.view is not None
            like = np.broadcast_to(np.float32(0), (*case.images.shape[:-1], count))
            case.masks, case.others = (
                None if given is None else masks_of(np.asarray(given)[part], like) for given in (run.masks, run.others)
            )
            case.objects = part_of(run.objects, part)
            if maps is None:
                maps = row.made(case, count, part.start, run.seed)
            case.explain = row.explain(case, count, part.start, run.seed)
            yield [metric(case, maps_of(maps)) for metric in wanted.values()]


def _units(case: Case) -> int:
    assert case.view is not None
    return case.view.unit_count() if case.view.indices is None else int(case.view.indices.shape[1])


def _affordable(run: _Run, rows: dict[str, Row], wanted: dict[str, Applied], seconds: float) -> int:
    """How many images can be measured in this time, estimated from a few of them. This also compiles the steps."""
    if not hasattr(run.x, "shape"):
        raise InputError("minutes= came for images that are not one array: give an array, or leave minutes= out.")
    few, begin = min(PILOT, len(run.x)), time.perf_counter()
    every = rows | {name: Row(name, baseline=BASELINES[name]) for name in ROWS}

    def measure(names: list[str], metrics: list[str]) -> dict[str, float]:
        some, taken = {name: wanted[name] for name in metrics}, {}
        run.kept.clear()
        for name in names:
            start = time.perf_counter()
            list(_values(run, Maps(run, {}), every[name], some, few))
            taken[name] = time.perf_counter() - start
        return taken

    times = timed(measure, rows, wanted, few)
    run.kept.clear()
    left = seconds - (time.perf_counter() - begin)
    if left < times.image:
        warning.warn(
            f"minutes={seconds / 60:g} is too short: a single image takes about {times.image / 60:.2g} minutes with "
            "these methods and metrics. One image is measured anyway: give more minutes, or fewer methods."
        )
    return int(min(len(run.x), max(1, left / times.image)))
