"""`python -m zoo`: explain each model of the zoo by each family of methods, and write docs/zoo.md."""

import argparse
import os
from pathlib import Path

from zoo import running, table, worker
from zoo.sample import SAMPLE

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(prog="python -m zoo", description=__doc__)
    add = parser.add_argument
    add("--source", nargs="*", default=list(worker.SOURCES), choices=list(worker.SOURCES))
    add("--model", nargs="*", help="run only these models, also if they have results")
    add("--methods", nargs="*", help="run only these methods, also if they have results")
    add("--sample", action="store_true", help=f"run only the {len(SAMPLE)} small models that `make test-peers` tries")
    add("--anew", action="store_true", help="also run models that have results")
    add("--table", action="store_true", help="only write the table of the results")
    add("--list", action="store_true", help="only list the models")
    add("--results", type=Path, default=HERE / "results.jsonl")
    add("--page", type=Path, default=HERE.parent / "docs" / "zoo.md")
    add("--at-once", type=int, default=2, help="the number of processes at a time, each with one thread")
    add("--seconds", type=float, default=running.SECONDS, help="processor time for all methods of a model")
    args = parser.parse_args()
    jobs = chosen(args) if not args.table else []
    if args.list:
        print("\n".join(" ".join(job) for job in jobs), f"\n{len(jobs)} models")
        return
    running.run(jobs, args.methods, args.results, args.at_once, args.seconds)
    print(table.summary(running.results(args.results)))
    whole = not (args.model or args.methods or args.sample)
    if args.table or whole:
        args.page.write_text(table.page(running.results(args.results)))


def chosen(args):
    """Return the `(source, model)` jobs that the arguments ask for and that have no results yet."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    jobs = [(source, name) for source in args.source for name in worker.names(source)]
    if args.sample:
        jobs = [job for job in SAMPLE if job[0] in args.source]
    if args.model:
        jobs = [job for job in jobs if job[1] in args.model]
    if args.anew or args.model or args.methods or args.list:
        return jobs
    ready = running.done(args.results)
    return [job for job in jobs if job not in ready]


if __name__ == "__main__":
    main()
