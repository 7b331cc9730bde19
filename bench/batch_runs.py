"""How fast runs over many images are: `local`, and `ray` with one worker, against `ke.explain` fed from the same files.

KERAS_BACKEND=jax python -m bench.batch_runs --images 2000 --rounds 5 --ray      on a machine that does nothing else"""

import argparse
import contextlib
import io
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools.demo_batch import scenes

import keras_explainable as ke
from keras_explainable import distributed
from keras_explainable.distributed import reading, sources
from keras_explainable.distributed.commits import Commits
from keras_explainable.distributed.engines.local import Local
from keras_explainable.distributed.storage import Place


def plain(loaded: Any, rows: list[dict[str, Any]], method: str, batch_size: int) -> float:
    """The seconds of `ke.explain` on these files, read by the same threads."""

    def inputs() -> Iterator[Any]:
        chunks = (rows[i : i + batch_size] for i in range(0, len(rows), batch_size))
        for batch in reading.batches(chunks, batch_size, loaded.size, "squash", None):
            yield loaded.preprocess(batch.pixels)

    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ke.explain(method, loaded.model, inputs(), "predicted", verbose=0, postprocessing="usual", resizing=False)
    return time.perf_counter() - start


class Timed(Local):
    """The engine `local`, with the seconds of its loop: not of listing, loading, and checking what came out."""

    seconds: list[float] = []

    def run(self, job: Any, parts: Any) -> Iterator[Any]:
        """Explain and commit these parts."""
        start = time.perf_counter()
        yield from super().run(job, parts)
        self.seconds.append(time.perf_counter() - start)


def run(engine: str, photos: Path, out: Path, method: str, batch_size: int) -> float:
    """The seconds of a whole run."""
    start = time.perf_counter()
    how = {"engine": engine, "batch_size": batch_size, "verbose": 0, "num_workers": 1}
    with contextlib.redirect_stdout(io.StringIO()):
        distributed.explain(method, "demo", photos, out, **how)
    return time.perf_counter() - start


def main() -> None:
    """Measure in turn, and print images per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="gradcam")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--ray", action="store_true")
    args = parser.parse_args()
    import keras_explainable.distributed.engines.local as local

    local.Local = Timed  # type: ignore[misc]
    with TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        scenes(photos, args.images)
        rows, loaded, ratios = sources.listing(photos).to_pylist(), ke.load("demo"), []
        plain(loaded, rows, args.method, args.batch_size)  # compiles
        for i in range(args.rounds):
            alone = plain(loaded, rows, args.method, args.batch_size)
            run("local", photos, Path(folder) / f"out-{i}", args.method, args.batch_size)
            ratios.append(alone / Timed.seconds[-1])
            rates = [len(rows) / seconds for seconds in (alone, Timed.seconds[-1])]
            print(f"explain {rates[0]:.1f}/s, local {rates[1]:.1f}/s: {ratios[-1]:.3f}", flush=True)
        print(f"local against explain: {statistics.median(ratios):.3f}, the median of {args.rounds}")
        if args.ray:
            out = Path(folder) / "ray"
            whole = run("ray", photos, out, args.method, args.batch_size)
            commits = Commits(Place(str(out)), "zarr")
            done = sorted(commits.records(commits.done()), key=lambda record: record.time)
            steady = done[-1].time - done[0].time
            images = sum(record.count for record in done[1:])
            print(f"ray {images / steady:.1f}/s, and {whole - steady:.0f} s for starting, loading and the first part")


if __name__ == "__main__":
    main()
