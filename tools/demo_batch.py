"""Shows on one machine what a run over many images survives: explains 2,000 scenes on Ray, kills the worker half-way,
and counts what is lost and what is repeated. `make demo-batch` runs it."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

SECONDS = 1800  # after which the run is given up
WITHIN = 0.3  # seconds after a part is done: within the next one
BAD = {"cut.jpg": None, "empty.jpg": b"", "text.jpg": b"no picture\n"}


def scenes(folder: Path, number: int) -> None:
    """Write so many scenes as JPEG files into two folders, and three files that are no images."""
    from PIL import Image

    import keras_explainable as ke

    done = folder / "done"
    if done.exists() and done.read_text() == str(number):
        return
    shutil.rmtree(folder, ignore_errors=True)
    for first in range(0, number, 500):
        some = min(500, number - first)
        for i, image in enumerate(ke.demo.load_scenes(some, seed=3 + first)[0], first):
            path = folder / "ab"[i % 2] / f"scene-{i // 2:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, quality=92)
    whole = (folder / "a" / "scene-000000.jpg").read_bytes()
    for name, data in BAD.items():
        (folder / "b" / name).write_bytes(whole[: len(whole) // 2] if data is None else data)
    done.write_text(str(number))


def records(out: Path) -> list[dict[str, Any]]:
    """The records of the parts that are done."""
    return [json.loads(path.read_text()) for path in sorted((out / "parts").glob("[0-9]*.json"))]


def killed_half_way(process: subprocess.Popen, out: Path, number: int) -> str:
    """Kill the worker when half of the images are done. Return what was killed."""
    until = time.time() + SECONDS
    while process.poll() is None and time.time() < until:
        done = records(out)
        if 2 * sum(record["count"] for record in done) >= number:
            worker = max(done, key=lambda record: record["time"])["worker"]
            pid = int(worker.rpartition(":")[2])
            name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            if not name.startswith("ray::"):
                raise SystemExit(f"Process {pid} is {name!r}, and a worker of Ray was expected: nothing is killed.")
            time.sleep(WITHIN)
            os.kill(pid, signal.SIGKILL)
            return f"{name} ({pid}), after {sum(record['count'] for record in done):,} images"
        time.sleep(0.05)
    raise SystemExit("The run ended before half of the images were done: see what it printed above.")


def main() -> None:
    """Make the scenes, run, kill, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--method", default="gradcam")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("demo-batch"))
    args = parser.parse_args()
    photos, out = args.folder / "photos", args.folder / "maps"
    print(f"Making {args.images:,} scenes in {photos}")
    scenes(photos, args.images)
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "keras_explainable.cli", "batch", str(photos), str(out), "--engine", "ray"]
    command += ["--num-workers", str(args.workers), "--method", args.method, "--model", "demo"]
    print(f"Running {' '.join(command[2:])}", flush=True)
    start = time.time()
    process = subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": "local"})
    try:
        print(f"\nKilled {killed_half_way(process, out, args.images)}. Ray begins another.", flush=True)
        code = process.wait(SECONDS)
    finally:
        if process.poll() is None:
            process.terminate()
    seconds = time.time() - start
    if code:
        raise SystemExit(f"The run ended with exit code {code}: see what it printed above.")
    raise SystemExit(0 if report(out, seconds) else 1)


def report(out: Path, seconds: float) -> bool:
    """Print the counts. Return whether nothing is lost, repeated or damaged."""
    from keras_explainable import distributed

    status, done = distributed.status(out, verify=True), records(out)
    parts = Counter(record["part"] for record in done)
    ids = Counter(distributed.open(out).table["id"].to_pylist())
    lost = status.images - sum(record["count"] for record in done)
    repeated = sum(n - 1 for n in parts.values()) + sum(n - 1 for n in ids.values())
    workers = len({record["worker"] for record in done})
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"""
images       {status.images:,}
explained    {status.explained:,}
set aside    {status.aside:,} (files that are no images)
lost         {lost:,}
repeated     {repeated:,}
damaged      {len(status.damaged):,}
parts        {len(done):,}, of which {sum(record["attempt"] > 1 for record in done):,} were begun twice
workers      {workers:,}
images/s     {status.per_second or 0:.1f} between the parts, {status.images / seconds:.1f} with starting Ray and loading
bytes        {size / status.images:.0f} for each image""")
    return not lost and not repeated and status.complete


if __name__ == "__main__":
    main()
