"""`python -m tools.leaderboard`: measure all methods on networks with known ground truth, and on real ones."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path

import keras
from tools.leaderboard import measure, table
from tools.leaderboard.data import COLUMNS, SHARED, Part, parts

import keras_explainable as ke
from keras_explainable.evaluation.check import Check, Checks

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "leaderboard.md"
LEAST_SCENES = 9  # of each check: with fewer than six that have a value, no check can decide
TRIED = ("gradcam", "layercam", "input_x_gradient")  # the methods in each check
SPARE = 0.9  # of the time: intervals and letters take the rest
CHECKING = 0.2  # of the time: after this, no further check starts
FEW_POINTS = 6
ABOUT = (
    "A row is a method with its default parameters. Each value is a mean over images, with its 95 % interval in "
    "brackets (bootstrap over scenes or photos). Rows are ordered by one metric, and two rows share a letter unless "
    "one is better by that metric, by more than 5 % of the gap between noise and the oracle; each pair is compared "
    "separately. A value in italics does not beat all maps that know nothing of the model. The names of these maps, "
    "and of the oracle, are in brackets. The oracle of the scenes shows how much the score really drops without each "
    "object. That of the photos is the mask, and a faithful map may differ from it. `mass_accuracy`, "
    "`class_selectivity` and `pointing_game` measure how plausible a map is, not how faithful."
)
EXPENSIVE = ("linear",)  # fills that take minutes to check


def main(given: list[str] | None = None) -> list[table.Table]:
    """Measure, print the tables, and write them."""
    args = arguments(given)
    start = time.perf_counter()
    end = None if args.minutes is None else start + SPARE * 60 * args.minutes
    cache = measure.Cache(None if args.cache == Path() else args.cache)
    lines = ["Values of earlier runs were kept."] if cache.values else []
    chosen = {name: part for name, part in parts(args.objects, args.data).items() if name in args.parts}
    if "photos" in chosen and not (args.data / "networks.py").exists():
        lines.append(f"No photos part: there are no networks and photos in {args.data}.")
        del chosen["photos"]
    checks = checked([name for part in chosen.values() for name in part.metrics], args.scenes, args.seed, end, cache)
    tables = measured(chosen, args, end, cache, checks, lines)
    text = page(args, chosen, checks, tables, lines, time.perf_counter() - start)
    print(text)
    whole = set(args.parts) == set(parts()) and args.methods == ["all"]
    out = args.out or (PAGE if whole else None)
    if out is not None and out.suffix == ".csv":
        table.to_csv(tables, out)
    elif out is not None:
        out.write_text(text, encoding="utf-8")
    return tables


def arguments(given: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.leaderboard", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, help="how long it may take; prints what is cut. Without it, nothing is cut")
    add("--seed", type=int, default=0)
    add("--methods", nargs="+", default=["all"], help='names of methods, or "all"')
    add("--parts", nargs="+", default=list(parts()), choices=list(parts()))
    add("--objects", type=int, default=200, help="objects of scenes in the truth part")
    add(
        "--scenes",
        type=int,
        default=LEAST_SCENES,
        help="scenes of each check of a metric; 36 are enough for all checks",
    )
    add("--data", type=Path, default=SHARED, help="the folder of real networks, photos and masks")
    add("--out", type=Path, help="a .md or .csv file; by default docs/leaderboard.md, if both parts have all methods")
    add("--cache", type=Path, default=ROOT / ".leaderboard", help='the folder where values are kept; "." keeps none')
    args = parser.parse_args(given)
    if args.minutes is not None and args.minutes <= 0:
        parser.error(f"--minutes {args.minutes:g} came, and a number above 0 was expected")
    if args.scenes < LEAST_SCENES:
        parser.error(f"--scenes {args.scenes} came, and a number of at least {LEAST_SCENES} was expected")
    if args.out is not None and args.out.suffix not in (".md", ".csv"):
        parser.error(f"--out {args.out} came, and a .md or .csv file was expected")
    if args.methods != ["all"]:
        for name in args.methods:
            try:
                ke.get(name)
            except ke.errors.ExplainError as error:
                parser.error(str(error))
    return args


def checked(names: list[str], scenes: int, seed: int, end: float | None, cache: measure.Cache) -> dict[str, Checks]:
    """The checks of metrics by their columns. With an end, no check starts after a share of the time (`CHECKING`), and
    a metric that is expensive to check is not checked."""
    found: dict[str, Checks] = {}
    begin = time.perf_counter()
    for name in sorted(dict.fromkeys(names), key=lambda name: "fill" in COLUMNS[name][1] and name != "srg"):
        metric, params = COLUMNS[name]
        key = json.dumps(["check", name, scenes, seed, ke.__version__, keras.backend.backend()])
        if key in cache.settings:
            known = {check: Check(check, *said) for check, said in cache.settings[key].items()}
            found[name] = Checks(metric, known, None)
            continue
        now = time.perf_counter()
        if end is not None and (params.get("fill") in EXPENSIVE or now - begin > CHECKING * (end - begin)):
            continue
        own = params | ({"points": FEW_POINTS} if metric == "srg" else {})
        found[name] = ke.metrics.check(metric, scenes, seed, methods=TRIED, **own)
        cache.keep(key, {check: [of.passed, of.said] for check, of in found[name].checks.items()})
        say(f"{name} checked in {time.perf_counter() - now:.0f} s")
    return found


def measured(
    chosen: dict[str, Part],
    args: argparse.Namespace,
    end: float | None,
    cache: measure.Cache,
    checks: dict[str, Checks],
    lines: list[str],
) -> list[table.Table]:
    """The tables of all networks for which there is time: the first network of each part, then the second ones, and so
    on."""
    methods = [record.name for record in ke.registry.listed()] if args.methods == ["all"] else args.methods
    jobs = sorted(
        ((n, part, network) for part, of in chosen.items() for n, network in enumerate(of.networks)),
        key=lambda job: job[0],
    )
    tables: list[table.Table] = []
    for number, (_, name, network) in enumerate(jobs):
        began, part = time.perf_counter(), chosen[name]
        found = None
        key = json.dumps([network, part.metrics, args.minutes, args.objects, args.seed, keras.backend.backend()])
        if end is None or began < end or not tables:
            subject = part.networks[network](args.seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                what = measure.Chosen(measure.Setting(len(subject.x)))
                if end is not None:
                    left = end - time.perf_counter()
                    share = left / (len(jobs) - number)
                    what = cache.chosen(key) or measure.chosen(subject, part, methods, share, left, args.seed)
                if what.fits or not tables:
                    some = [method for method in methods if method not in what.expensive]
                    found = measure.values(subject, part, some, what.setting, args.seed, cache)
                    cache.choose(key, what)
        if found is None:
            lines.append(f"Left out: network {network} ({part.title}).")
        else:
            tables.append(table.table(part.title, network, found, checks, part.by, what.cuts))
        say(f"{network} in {time.perf_counter() - began:.0f} s; {'left out' if found is None else tables[-1].said()}")
    return tables


def page(
    args: argparse.Namespace,
    chosen: dict[str, Part],
    checks: dict[str, Checks],
    tables: list[table.Table],
    lines: list[str],
    seconds: float,
) -> str:
    """The page of all tables."""
    limit = "" if args.minutes is None else f" --minutes {args.minutes:g}"
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    names = [name for name in COLUMNS if any(name in part.metrics for part in chosen.values())]
    said = [
        "# Leaderboard",
        f'Made by `make leaderboard ARGS="--seed {args.seed}{limit}"` with Keras {keras.__version__} on '
        f"{keras.backend.backend()}, OMP_NUM_THREADS={threads}, in {seconds / 60:.0f} minutes. The photos are not part "
        "of this project: these are numbers only.",
        ABOUT,
        "## Do the metrics measure what they should?",
        f"`ke.metrics.check` on {args.scenes} scenes of three objects. A metric ranks methods if it passes `oracle`, "
        "`chance` and `constant`. With few scenes, a metric may fail `halves` and `truth` by chance.",
        table.checked(checks, names),
        *failures(checks),
        *lines,
    ]
    for part in chosen.values():
        said += [f"## {part.title}", *(table.markdown(found) for found in tables if found.part == part.title)]
    return "\n\n".join(said) + "\n"


def failures(checks: dict[str, Checks]) -> list[str]:
    """The failed checks, in words."""
    found = [
        f"- {name}, {check.name}: {check.said}"
        for name, of in checks.items()
        for check in of.checks.values()
        if check.passed is False
    ]
    return ["\n".join(found)] if found else []


def say(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
