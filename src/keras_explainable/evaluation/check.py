"""Does a metric measure what it should? Nine checks on scenes with known ground truth."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

from keras_explainable import demo
from keras_explainable.errors import InputError
from keras_explainable.evaluation.evaluate import evaluate
from keras_explainable.evaluation.evaluation import Evaluation
from keras_explainable.evaluation.selection import FEW
from keras_explainable.explaining.explain import explain
from keras_explainable.metrics.baselines import BASELINES, spread
from keras_explainable.metrics.inputs import check_parameters, parameters_of
from keras_explainable.metrics.other_weights import drawn
from keras_explainable.metrics.ranks import average_ranks, spearman
from keras_explainable.metrics.record import METRICS, MetricNeed, MetricRecord
from keras_explainable.metrics.statistics import Comparison, interval, kendall_tau, krippendorff_alpha, split_half
from keras_explainable.numerics import random
from keras_explainable.runtime.validation import check_number

OBJECTS = 3  # in each scene: a correlation over two objects is 1 or -1
SHARES = (0.25, 0.5, 0.75, 1.0)  # of noise in a map
NECESSARY = ("oracle", "chance", "constant")
TRUTH = "single_deletion"
NEGATIVE = "negative oracle"
CONSTANT = "uniform_but_one"
PERMUTED = ("gradcam", "layercam", "input_x_gradient")


@dataclass(frozen=True)
class Check:
    """One check: whether it passed (None if it does not apply), the finding in words, the number behind it if there is
    one, and, for a map, whether it contradicts the map, and the method that agrees with it least, with its map."""

    name: str
    passed: bool | None
    said: str
    value: float | None = None
    contradicts: bool = False
    least: tuple[str, np.ndarray] | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{ {True: 'passed', False: 'FAILED', None: 'not applicable'}[self.passed] }: {self.said}"


@dataclass(frozen=True)
class Checks:
    """The checks of a metric on scenes.

    Args:
        metric: its name.
        checks: by name.
        evaluation: what they were computed from.
    """

    metric: str
    checks: dict[str, Check] = field(repr=False)
    evaluation: Evaluation = field(repr=False)

    @property
    def ranked(self) -> bool:
        """Whether methods may be ranked by this metric: the oracle wins, random maps are at chance, and a constant map
        does not win."""
        return all(self.checks[name].passed is not False for name in NECESSARY)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed is not False for check in self.checks.values())

    def __str__(self) -> str:
        failed = [n for n, check in enumerate(self.checks.values(), 1) if check.passed is False]
        verdict = "passes all checks" if not failed else f"fails {', '.join(map(str, failed))} of its checks"
        ranked = "" if self.ranked else ", and does not rank methods"
        lines = [f"{self.metric} {verdict}{ranked}."]
        return "\n".join([*lines, *(f"  {n}. {check}" for n, check in enumerate(self.checks.values(), 1))])


def check(
    metric: str | Callable,
    scenes: int = 12,
    seed: int = 0,
    network: Callable | None = None,
    methods: Sequence[str] = FEW,
    verbose: int | str = 0,
    **own: Any,
) -> Checks:
    """Check a metric on scenes of three objects. Each scene is also drawn without each object, so the true loss of the
    network's score is known.

    1. oracle: maps of the true losses are better than all maps that know nothing of the model, by a difference that
       matters (5 % of the difference between the oracle and random maps).
    2. chance: the interval of uniform noise contains the chance level.
    3. noise: (1 - q) oracle + q noise gets worse as q grows: Spearman -.9 or below.
    4. sign: the oracle is better than its negative.
    5. constant: a map that is constant except for one pixel is worse than the best, by a difference that matters.
    6. model: maps of a network with permuted weights are not better than maps that know nothing.
    7. halves: two halves of the scenes agree on the order of methods: Spearman .8 or above.
    8. fills: two fills agree on the order of methods (Kendall's tau .5 or above), for metrics that fill.
    9. truth: the order of methods agrees with that by `single_deletion`: Spearman .5 or above.

    A metric that fails 1, 2 or 5 must not be used to rank methods. A check that a metric gives no basis for, such as 8
    for a metric without a fill, does not apply.

    Args:
        metric: a name, or a function such as `ke.metrics.srg`.
        scenes: how many.
        seed: of scenes, noise and methods.
        network: a function that makes the network, `ke.demo.load_model` if None. It is called twice, and the weights of
            the second network are permuted.
        methods: the methods that are ordered by the metric.
        verbose: 0 shows no progress.
        own: parameters of the metric.

    Raises:
        InputError: there is no such metric, or it does not say which values are better.
    """
    record, own = _record(metric, own)
    check_number("scenes", scenes, lambda n: n >= 1, "a whole number from 1", Integral)
    network = network or demo.load_model
    data = demo.load_counterfactuals(scenes, seed, OBJECTS)
    objects = data.objects()
    others = objects[0].any(axis=1) & ~data.masks
    model, x, y = network(), data.images[data.scene].astype("float32"), data.units[:, None]
    blank = np.zeros((*x.shape[:-1], 1), "float32")
    oracle = spread(objects[0], METRICS[TRUTH].function(model, x, y, blank, objects=objects).curves["loss"])
    rows = {name: name for name in methods} | mixtures(oracle, seed) | maps_of_permuted(network(), x, y, seed)
    columns: dict[str, Any] = {record.name: (record.name, own), TRUTH: TRUTH}
    if "fill" in parameters_of(record) and "fill" not in own:
        columns[refilled(record)] = record.name, own | {"fill": "blur"}
    evaluated = functools.partial(
        evaluate,
        model,
        x,
        y,
        masks=data.masks,
        groups=data.scene,
        others=others,
        objects=objects,
        seed=seed,
        verbose=verbose,
    )
    found = evaluated(rows, columns)
    # Separately: mass metrics have no value for maps without positive values, and would leave these images out for all.
    signs = evaluated({"oracle": oracle, NEGATIVE: -oracle}, {record.name: columns[record.name]}, baselines=False)
    ordered = [*(name for name in methods if name in found.methods), *BASELINES]
    evaluations = dict.fromkeys(CHECKS, found) | {"sign": signs}
    checks = {name: Check(name, *passes(evaluations[name], record, ordered)) for name, passes in CHECKS.items()}
    return Checks(record.name, checks, found)


def _record(metric: str | Callable, own: dict[str, Any]) -> tuple[MetricRecord, dict[str, Any]]:
    """The record of a metric, and its parameters, by default corrected for chance and with few points."""
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", str(metric))
    if name not in METRICS:
        raise InputError(f"No metric is named {name!r}. There are: {', '.join(METRICS)}.")
    record = METRICS[name]
    if not record.better or MetricNeed.method in record.needs:
        raise InputError(f"{name} describes maps or methods, and does not rank them: there is nothing to check.")
    check_parameters(record, own)
    usual = {"corrected": True, "points": 10}
    return record, {name: value for name, value in usual.items() if name in parameters_of(record)} | own


def mixtures(oracle: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Mixtures of the oracle's maps with noise."""
    least, most = (f(oracle, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    scaled = (oracle - least) / np.where(most > least, most - least, 1)
    noise = random.on_host(scaled.shape, seed, 0, 23)
    return {mixture(q): (1 - q) * scaled + q * noise for q in SHARES}


def mixture(share: float) -> str:
    """The name of a mixture."""
    return f"oracle with {share:.0%} noise"


def maps_of_permuted(model: Any, x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Maps of a network whose kernels have their elements in a random order."""
    weights = enumerate(model.get_weights())
    model.set_weights([drawn(value, "permute", seed, n) if value.ndim > 1 else value for n, value in weights])
    return {permuted(name): explain(name, model, x, y, resizing=True, verbose=0).maps for name in PERMUTED}


def permuted(name: str) -> str:
    """The name of a method's maps of the permuted network."""
    return f"{name} of permuted weights"


def refilled(record: MetricRecord) -> str:
    """The name of the metric with the second fill."""
    return f"{record.name} (blur)"


# Each check takes the evaluation, the metric's record, and the names of the rows whose order is compared. It returns
# whether the metric passed (None if it does not apply), and the finding in words.
def _oracle(found: Evaluation, record: MetricRecord, rows: list[str]) -> tuple[bool, str]:
    best = _best(found, record, BASELINES)
    compared = found.compare("oracle", best, record.name)
    said = f"the oracle {_mean(found, record, 'oracle')}, and {best}, the best map that knows nothing,"
    return _clearly(compared), f"{said} {_mean(found, record, best)}: {compared}"


def _chance(found: Evaluation, record: MetricRecord, rows: list[str]) -> tuple[bool | None, str]:
    chance = 0.0 if found.applied[record.name].params.get("corrected") else record.chance_level
    if chance is None:
        return None, f"chance is {record.chance}"
    values, groups = _table(found, record.name, ["uniform_noise"])
    low, high = interval(values, groups)[0]
    return bool(
        low <= chance <= high
    ), f"uniform noise {values.mean():.3g} [{low:.3g}, {high:.3g}], and chance {chance:g}"


def _noise(found: Evaluation, record: MetricRecord, rows: list[str]) -> tuple[bool, str]:
    means = np.array([_values(found, record, name).mean() for name in ("oracle", *map(mixture, SHARES))])
    falls = float(spearman(np.arange(len(means)), means * _sign(record)))
    said = f"with more noise, the oracle goes from {means[0]:.3g} to {means[-1]:.3g}: Spearman {falls:.2f}"
    return bool(falls <= -0.9), said


def _reversed(found: Evaluation, record: MetricRecord, rows: list[str]) -> tuple[bool | None, str]:
    values = _values(found, record, NEGATIVE)
    if np.isnan(found.of(record.name)).all():
        return None, "it has no value for the negative of the oracle"
    compared = found.compare("oracle", NEGATIVE, record.name)
    return compared.verdict == "better", f"the negative of the oracle {values.mean():.3g}; the oracle is {compared}"


def _constant(found: Evaluation, record: MetricRecord, rows: list[str]) -> tuple[bool, str]:
    best = _best(found, record, [name for name in found.methods if name != CONSTANT])
    compared = found.compare(best, CONSTANT, record.name)
    said = f"{best}, the best other map, {_mean(found, record, best)}, and {CONSTANT} {_mean(found, record, CONSTANT)}"
    return _clearly(compared), f"{said}: {compared}"


def _model(found: Evaluation, record: MetricRecord, rows: list[str]) -> tuple[bool, str]:
    best, first = _best(found, record, BASELINES), _best(found, record, map(permuted, PERMUTED))
    compared = found.compare(first, best, record.name)
    said = f"{first} {_mean(found, record, first)}, and {best} {_mean(found, record, best)}: {compared}"
    return compared.verdict != "better", said


def _halves(found: Evaluation, record: MetricRecord, rows: list[str]) -> tuple[bool, str]:
    values, groups = _table(found, record.name, rows)
    agree = split_half(values, lambda a, b: float(spearman(a, b)), groups)
    alpha = krippendorff_alpha(average_ranks(values))
    return bool(
        agree >= 0.8
    ), f"halves of the scenes agree by {agree:.2f} (Spearman), single images by {alpha:.2f} (alpha)"


def _fills(found: Evaluation, record: MetricRecord, rows: list[str]) -> tuple[bool | None, str]:
    second = refilled(record)
    if second not in found.metrics:
        return None, "no second fill"
    one, other = (_table(found, name, rows)[0].mean(axis=0) for name in (record.name, second))
    tau = kendall_tau(one, other)
    return bool(tau >= 0.5), f"the order of methods agrees with that of {second} by {tau:.2f} (Kendall)"


def _truth(found: Evaluation, record: MetricRecord, rows: list[str]) -> tuple[bool, str]:
    one, other = (_table(found, name, rows)[0].mean(axis=0) for name in (record.name, TRUTH))
    agree = float(spearman(_sign(record) * one, other))
    return bool(agree >= 0.5), f"the order of methods agrees with {TRUTH} by {agree:.2f} (Spearman)"


CHECKS: dict[str, Callable] = {
    "oracle": _oracle,
    "chance": _chance,
    "noise": _noise,
    "sign": _reversed,
    "constant": _constant,
    "model": _model,
    "halves": _halves,
    "fills": _fills,
    "truth": _truth,
}


def _clearly(compared: Comparison) -> bool:
    """Whether the first is better by a difference that matters."""
    return compared.verdict == "better" and bool(compared.difference > compared.margin)


def _sign(record: MetricRecord) -> int:
    return 1 if record.better == "higher" else -1


def _values(found: Evaluation, record: MetricRecord, name: str) -> np.ndarray:
    """A row's values of the metric, where it has one."""
    values = found.values[found.methods.index(name), found.metrics.index(record.name)].mean(axis=-1)
    return values if np.isnan(values).all() else values[~np.isnan(values)]


def _mean(found: Evaluation, record: MetricRecord, name: str) -> str:
    return f"{_values(found, record, name).mean():.3g}"


def _best(found: Evaluation, record: MetricRecord, names: Iterable[str]) -> str:
    return max(names, key=lambda name: _sign(record) * _values(found, record, name).mean())


def _table(found: Evaluation, metric: str, rows: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The values (N, M) of some rows on the images where all of them have one, and these images' groups."""
    number = found.metrics.index(metric)
    values = np.stack([found.values[found.methods.index(row), number].mean(axis=-1) for row in rows], axis=1)
    kept = ~np.isnan(values).any(axis=1)
    assert found.groups is not None
    return values[kept], found.groups[kept]
