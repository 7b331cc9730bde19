"""Can one map of one image be trusted? Eight checks, a sentence each, and a verdict."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, models
from keras_explainable.errors import ExplainError, InputError
from keras_explainable.evaluation.card import Trust
from keras_explainable.evaluation.check import Check
from keras_explainable.explaining.arguments import check_seed
from keras_explainable.explaining.batch_step import unit_numbers
from keras_explainable.explaining.checks import open_batches
from keras_explainable.explaining.explain import explain
from keras_explainable.explaining.loop import units_and_score
from keras_explainable.explaining.scope import model_scope
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.explained import Explain
from keras_explainable.metrics.localisation import flat
from keras_explainable.metrics.masked import read, units_of
from keras_explainable.metrics.order import order
from keras_explainable.metrics.other_weights import randomised
from keras_explainable.metrics.ranks import spearman
from keras_explainable.metrics.record import METRICS
from keras_explainable.metrics.robustness import Noise, kept, noisy
from keras_explainable.numerics import random
from keras_explainable.registry import named

# The thresholds of the checks. `tools/calibrate_trust.py` measures them on scenes with known ground truth.
CHANCE, NO_BETTER, MODEL, CLASS, NOISE, AGREES, GAP, EDGES = 0.05, 0.5, 0.5, 0.9, 0.5, 0.3, 0.05, 0.7
LEVEL = 0.02  # of noise, as a share of the image's range
TOP = 0.1  # the share of pixels, those with the largest values, that are compared under noise
CELLS = 14  # along each axis: maps are compared by their means over these cells
OTHERS: dict[str, dict[str, Any]] = {
    "layercam": {},
    "integrated_gradients": {"repetitions": 20},
    "lrp_epsilon_plus": {},
    "occlusion": {},
}


@dataclasses.dataclass(frozen=True)
class Effort:
    """How often the checks repeat."""

    moved: int  # copies of the map that are moved and mirrored
    points: int  # of their curves
    weights: int  # networks with permuted weights
    noisy: int  # copies of the image


FULL, QUICK = Effort(39, 10, 3, 8), Effort(19, 5, 1, 3)


def trust(
    model: Any,
    x: Any,
    y: Any = None,
    method: Any = "gradcam",
    quick: bool = False,
    seed: int = 0,
    *,
    at_once: int | None = None,
    precision: str | None = None,
    leaf: Any = None,
    shared: Any = None,
    channels: int | str | None = None,
) -> Trust:
    """Check the map of one image by a method, and say whether it is supported.

    1. prediction: the probability of the unit and its margin over the others. This is reported, not judged.
    2. chance: the `srg` of the map is compared with that of 39 copies of it that are moved around the image and
       mirrored, so that they have the same values and the same smoothness. p = (1 + number of copies that are at least
       as good) / 40 <= .05. For this, the map is replaced by its means over 14 x 14 cells.
    3. model: the map changes when the weights are permuted: the median of |Spearman| over three networks is below .5.
    4. class: the map differs from that of the unit with the next highest score: Spearman below .9. The map of the unit
       with the lowest score is compared as well.
    5. noise: with noise of 2 % of the range, at least half of the pixels with the largest values (a tenth of all) stay
       the same. Only noisy copies that keep the prediction count. The same must hold for another seed.
    6. agreement: the median of Spearman's correlations with the maps of `layercam`, `integrated_gradients`,
       `lrp_epsilon_plus` and `occlusion`, on 14 x 14 cells, is .3 or more.
    7. completeness: the map adds up to the change of the score to within 5 %, for methods that promise this.
    8. edges: the correlation of the map with the edges of the image is below .7.

    The verdict is "contradicted" if check 3 fails, check 4 fails for both units, or p is above .5. It is "supported" if
    all checks that apply pass, and "undecided" otherwise. A p between .05 and .5 decides nothing. A supported map need
    not be right: see the caveats of the card.

    Args:
        model: as in `ke.explain`. A black box has no weights to permute: that check does not apply.
        x: one image, (1, *S, C).
        y: its unit; None takes the one that the model scores highest.
        method: a method or its name, or (method, its parameters).
        quick: use fewer repetitions: 19 copies, one network, three noisy images, and shorter curves. This takes a third
            of the time.
        seed: of the method, the copies, the networks and the noise.
        at_once, precision, leaf, shared, channels: as in `ke.explain`.

    Returns:
        A `Trust`: `verdict`, `checks`, and `print(card)`, `card.to_html(path)`.

    Raises:
        InputError: there is not one image and one unit. ExplainError: the method cannot explain this model.
    """
    check_seed(seed)
    y, score = units_and_score("predicted" if y is None else y, None)
    if score is not None:
        raise InputError(f"y={y!r} came, and one unit of the model was expected: its number, or None.")
    explained = Explain.of(method, seed)
    model, leaf = models.with_channels(model, channels, False), models.Leaf.of(leaf, shared)
    with model_scope(model, precision):
        source, _ = open_batches(model, x, y, None, None, leaf)
        batches = list(itertools.islice(source.iterator, 2))
        if len(batches) != 1 or len(batches[0][0]) != 1:
            raise InputError("More than one image came: ke.trust takes one, such as x[:1].")
        images, indices = batches[0]
        whole = explain(
            explained.method, model, images, indices, resizing=True, verbose=0, precision=precision, **explained.params
        )
        bound, first = models.bind(model, images)
        with models.steady(bound):
            view = models.view(bound, first, unit_numbers(bound, first, indices), None)
            case = Case.of(view, seed=seed, at_once=at_once, explain=explained)
            return _card(case, named(explained.method), whole.maps, whole.about, QUICK if quick else FULL)


def _card(case: Case, method: str, maps: np.ndarray, about: dict[str, Any], effort: Effort) -> Trust:
    """The card of a case of one image."""
    if maps.shape[-1] != 1:
        raise InputError(f"{maps.shape[-1]} units came: ke.trust takes one.")
    checks = {name: Check(name, *found(case, maps, effort)) for name, found in CHECKS.items()}
    checks["completeness"] = Check("completeness", *_completeness(about))
    ordered = {name: checks[name] for name in ORDER}
    unit = int(units_of(case, 1)[0, 0])
    assert case.images is not None
    return Trust(method, unit, ordered, case.images[0], maps[0, ..., 0], about, quick=effort is QUICK)


# Each check takes a case of one image, the map (1, *S, 1) and the effort. It returns whether the map passed (None if
# the check does not apply), and the finding in words.
Found = tuple[Any, ...]  # the fields of a `Check` after its name; those after the second one can be left out


def _prediction(case: Case, maps: np.ndarray, effort: Effort) -> Found:
    assert case.images is not None and case.view is not None
    of = units_of(case, 1)
    one = case.images[:, None]
    probability, margin = (float(read(case, one, of, kind)[0, 0, 0]) for kind in ("probability", "margin"))
    if case.view.adapter.black_box:
        return None, f"the function returns {probability:.3g} for this unit"
    if case.view.unit_count() == 1:
        return None, f"the model gives this unit {probability:.1%}"
    ahead = f"{margin:.3g} above the next" if margin > 0 else f"{-margin:.3g} below the highest"
    return None, f"the model gives this unit {probability:.1%}; its score is {ahead}"


def _chance(case: Case, maps: np.ndarray, effort: Effort) -> Found:
    measured = METRICS["srg"].of_case

    def srg(of: np.ndarray) -> float:
        return float(measured(case, of, points=effort.points).values[0, 0])

    maps = smoothed(maps)
    own, others = srg(maps), np.array([srg(other) for other in moved(maps, effort.moved, case.seed)])
    p = (1 + int((others >= own).sum())) / (1 + effort.moved)
    said = f"removing what it shows changes the score by {own:.3g} (srg); the same map elsewhere in the image, by"
    return p <= CHANCE, f"{said} {others.mean():.3g} on average: p = {p:.3g}", p, p > NO_BETTER


def smoothed(maps: np.ndarray) -> np.ndarray:
    """Maps (B, *S, K) as the means over `CELLS` cells along each axis, of the same size. Single pixels of a map are
    often noise, and their sums are not."""
    size = maps.shape[1:-1]
    found = cells(maps)
    for axis, n in enumerate(size, 1):
        lengths = [len(part) for part in np.array_split(np.arange(n), found.shape[axis])]
        found = np.repeat(found, lengths, axis)
    return found


def moved(maps: np.ndarray, number: int, seed: int) -> Iterator[np.ndarray]:
    """Copies of maps (B, *S, K), each moved around the image and mirrored along random axes."""
    axes = tuple(range(1, maps.ndim - 1))
    drawn = random.on_host((number, 2, len(axes)), seed, 0, 61)
    for shares, flips in drawn:
        mirrored = np.flip(maps, tuple(axis for axis, flip in zip(axes, flips, strict=True) if flip < 0.5))
        steps = [int(share * maps.shape[axis]) for share, axis in zip(shares, axes, strict=True)]
        yield np.roll(mirrored, steps, axes)


def _model(case: Case, maps: np.ndarray, effort: Effort) -> Found:
    assert case.view is not None
    if case.view.adapter.black_box:
        return None, "a function has no weights that can be permuted"
    found: list[float] = []
    for number in range(effort.weights):
        drawn = dataclasses.replace(case, seed=case.seed + number, kept={})
        try:
            (others,) = randomised(drawn, case.explain, "permute")
        except ExplainError:
            continue
        found.append(abs(_alike(maps, np.nan_to_num(others))))
    if not found:
        return None, "the method does not explain networks with permuted weights"
    alike = float(np.median(found))
    return (
        alike < MODEL,
        f"with permuted weights the map correlates by {alike:.2f} with this one",
        alike,
        alike >= MODEL,
    )


def _class(case: Case, maps: np.ndarray, effort: Effort) -> Found:
    view = case.view
    assert view is not None and case.explain is not None and view.indices is not None
    if view.unit_count() == 1:
        return None, "the model has one unit"
    scores, _ = view.of(view.inputs, None).evaluate()
    every, own = backend.to_host(scores)[0], int(units_of(case, 1)[0, 0])
    others = [int(unit) for unit in np.argsort(-every, kind="stable") if unit != own]
    units = [others[0], others[-1]]
    kind = backend.to_host(view.indices).dtype
    found = case.explain(view.of(view.inputs, ops.convert_to_tensor(np.array([units], kind))))
    alike, far = (_alike(maps, found[..., k : k + 1]) for k in (0, 1))
    said = f"it correlates by {alike:.2f} with the map of the next unit, {units[0]}"
    # The next unit may be closely related, such as another breed of dog.
    return (
        alike < CLASS,
        f"{said}, and by {far:.2f} with that of the lowest, {units[1]}",
        alike,
        min(alike, far) >= CLASS,
    )


def _noise(case: Case, maps: np.ndarray, effort: Effort) -> Found:
    view, drawn = case.view, Noise(effort.noisy, LEVEL)
    assert view is not None and case.explain is not None
    inputs = (x for x, keeps in zip(noisy(case, drawn), kept(case, drawn)[0, 0], strict=True) if keeps)
    shared = [_overlap(case, maps, case.explain(view.of(x, view.indices))) for x in inputs]
    if not shared:
        return False, f"noise of {LEVEL:.0%} of the range changes the prediction each time"
    share = float(np.mean(shared))
    said = f"with noise of {LEVEL:.0%} of the range, {share:.0%} of its largest values stay in place"
    if not getattr(case.explain, "is_seeded", False):
        return share >= NOISE, said, share
    again = _overlap(case, maps, case.explain(view, case.seed + 1))
    return min(share, again) >= NOISE, f"{said}; with another seed, {again:.0%}", min(share, again)


def _overlap(case: Case, maps: np.ndarray, others: np.ndarray) -> float:
    """The share of the largest values of a map that are among those of another."""
    number = max(1, round(TOP * maps[0, ..., 0].size))
    one, other = (order(m, case.seed) < number for m in (maps, np.nan_to_num(others)))
    return float((one & other).sum() / number)


def _agreement(case: Case, maps: np.ndarray, effort: Effort) -> Found:
    found: dict[str, float] = {}
    others: dict[str, np.ndarray] = {}
    assert case.explain is not None and case.view is not None
    for name, params in OTHERS.items():
        other = Explain.of((name, params), case.seed)
        if other.method is getattr(case.explain, "method", None):
            continue
        try:
            others[name] = other(case.view)
            found[name] = _alike(cells(maps), cells(others[name]))
        except ExplainError:
            continue
    if not found:
        return None, "no other method explains this model"
    median = float(np.median(list(found.values())))
    said = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    least = min(found, key=found.__getitem__)
    return median >= AGREES, f"it correlates with {said}", median, False, (least, others[least][0, ..., 0])


def cells(maps: np.ndarray) -> np.ndarray:
    """The means of maps (B, *S, K) over `CELLS` cells along each axis, or all pixels if there are fewer."""
    for axis in range(1, maps.ndim - 1):
        parts = np.array_split(maps, min(CELLS, maps.shape[axis]), axis)
        maps = np.stack([part.mean(axis=axis) for part in parts], axis=axis)
    return maps


def _edges(case: Case, maps: np.ndarray, effort: Effort) -> Found:
    alike = float(METRICS["edge_likeness"].of_case(case, maps).values[0, 0])
    if np.isnan(alike):
        return None, "the map or the image is constant"
    return alike < EDGES, f"it correlates by {alike:.2f} with the edges of the image", alike


def _completeness(about: dict[str, Any]) -> Found:
    if "gap" not in about:
        return None, "the method does not promise to add up"
    gap = float(about["gap"])
    return gap < GAP, f"the map adds up to the change of the score up to {gap:.1%}", gap


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation of two maps (1, *S, 1); 0 if one is constant."""
    return float(np.nan_to_num(spearman(flat(one), flat(other)))[0, 0])


CHECKS: dict[str, Callable[[Case, np.ndarray, Effort], Found]] = {
    "prediction": _prediction,
    "chance": _chance,
    "model": _model,
    "class": _class,
    "noise": _noise,
    "agreement": _agreement,
    "edges": _edges,
}
ORDER = ("prediction", "chance", "model", "class", "noise", "agreement", "completeness", "edges")
