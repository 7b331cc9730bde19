"""Reduce the work so that the leaderboard ends in time: repetitions, then points, fills, images, and networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from keras_explainable import registry
from keras_explainable.evaluation.budget import Times

SHARES = (1.0, 0.5, 0.25, 0.125)  # of the repetitions
POINTS = (20, 15, 10)
TIMED = 4  # points of the curves that are timed
CHANNELS = 256  # of Score-CAM, whose default is all of them
TAIL = 0.1  # of a forward pass: what comes after the signal
CELLS = 49  # windows and segments of a method, if its cost depends on them
MOST = 150  # passes of the model: methods with at most this many are never left out
FEWEST = 6  # images: with fewer, no methods can be told apart
FILLS = ("linear", "blur")  # in the order in which they are cut

Columns = dict[str, tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Setting:
    """What is computed for a network: a share of the repetitions, points of curves, columns left out, images."""

    images: int
    share: float = 1.0
    points: int = POINTS[0]
    without: tuple[str, ...] = ()

    def methods(self, names: list[str]) -> dict[str, tuple[str, dict[str, Any]]]:
        """The methods with their parameters."""
        return {name: (name, repetitions(name, self.share)) for name in names}

    def columns(self, columns: Columns) -> Columns:
        """The metrics with their parameters."""
        return {
            name: (metric, params | ({"points": self.points} if metric == "srg" else {}))
            for name, (metric, params) in columns.items()
            if params.get("fill") not in self.without
        }

    def seconds(self, times: Times, columns: Columns) -> float:
        """How long it takes, given the times for `SHARES[-1]` of the repetitions and for curves of `TIMED` points. All
        methods share both ends of a curve."""
        longer = self.share / SHARES[-1]
        maps = {name: t * (longer if counts(name) else 1) for name, t in times.maps.items()}
        curve = (self.points - 2) / (TIMED - 2)
        kept = self.columns(columns)
        metrics = {name: times.metrics[name] * (curve if kept[name][0] == "srg" else 1) for name in kept}
        return self.images * Times(maps, metrics, {name: times.shared[name] for name in kept}).image


def repetitions(name: str, share: float) -> dict[str, Any]:
    """The parameters with which a method makes this share of its default repetitions; none if the share is 1, or if the
    method does not repeat."""
    return {key: max(2, math.ceil(share * number)) for key, number in counts(name).items()} if share < 1 else {}


def counts(name: str) -> dict[str, int]:
    """How often a method repeats by default, by the name of the parameter that sets it."""
    if name not in registry.METHODS:
        return {}
    found = registry.parameters(registry.METHODS[name].function) or {}
    known = {"repetitions": None, "max_channels": CHANNELS}
    return {key: found[key].default or number for key, number in known.items() if key in found}


def cut(
    times: Times, columns: Columns, whole: Setting, least: int, seconds: float, most: float
) -> tuple[Setting, list[str]]:
    """The setting that takes at most `seconds`, and what was cut for it in words, in this order: repetitions, points of
    curves, fills, images. `least` images may take up to `most` seconds, and at least `FEWEST` images remain."""
    setting, said = whole, []
    for setting in settings(columns, whole):
        if setting.seconds(times, columns) <= seconds:
            break
    else:
        each = setting.seconds(times, columns) / setting.images
        fit = max(int(seconds / each), min(least, int(most / each)), FEWEST)
        setting = replace(setting, images=min(whole.images, fit))
    if setting.share < whole.share:
        said.append(f"repetitions to {setting.share:.4g} of each method's default")
    if setting.points < whole.points:
        said.append(f"points of srg to {setting.points}")
    said += [f"fill {fill!r}" for fill in setting.without]
    if setting.images < whole.images:
        said.append(f"images to {setting.images} of {whole.images}")
    return setting, said


def too_expensive(methods: list[str], forward: float, seconds: float) -> list[str]:
    """The methods that take more than `seconds` for an image, even at the smallest share of their repetitions. This is
    estimated from their stated cost and the seconds of a forward pass; these methods are not timed. A method of at most
    `MOST` passes is never left out."""
    few = {name: next(iter(repetitions(name, SHARES[-1]).values()), 1) for name in methods}
    return [
        name
        for name in methods
        if registry.METHODS[name].cost.passes(
            forward=forward,
            backward=forward,
            tail=TAIL * forward,
            n=few[name],
            C=few[name] if "max_channels" in counts(name) else CHANNELS,
            windows=CELLS,
            segments=CELLS,
            K=1,
            R=1,
        )
        > max(seconds, MOST * forward)
    ]


def settings(columns: Columns, whole: Setting) -> Iterator[Setting]:
    """All settings with all images, from the full one to the fastest one."""
    yield whole
    for share in (share for share in SHARES if share < whole.share):
        yield (whole := replace(whole, share=share))
    for points in (points for points in POINTS if points < whole.points):
        yield (whole := replace(whole, points=points))
    there = {params.get("fill") for _, params in columns.values()}
    for fill in (fill for fill in FILLS if fill in there):
        yield (whole := replace(whole, without=(*whole.without, fill)))
