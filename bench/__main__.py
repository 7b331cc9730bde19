"""`python -m bench`: measure what each method costs relative to the bare framework and to other libraries, in one run."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from bench import networks, tables

KINDS = ("tensorflow", "jax", "torch", "native")
METHODS = ("gradcam", "gradcampp", "gradients", "full_gradients", "simple_full_gradients", "smoothgrad")
PACKAGES = ("keras", "tensorflow-cpu", "tensorflow", "jax", "torch", "captum", "grad-cam", "tf-keras-vis", "xplique")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--backends", nargs="*", default=list(KINDS), choices=KINDS, help="native: a plain torch.nn.Module")
    add("--networks", nargs="*", default=list(networks.NETWORKS))
    add("--batch", nargs="*", type=int, default=[1, 8, 32])
    add("--size", type=int, default=224)
    add("--methods", nargs="*", default=list(METHODS), help="`all`: every method that can explain the network")
    add("--rounds", type=int, default=5)
    add(
        "--budget",
        type=float,
        default=90,
        help="seconds for the rounds of one network, batch and backend; at least 3 rounds run",
    )
    add("--peers", action="store_true", help="also measure other libraries that are installed (make bench-peers)")
    add("--groups", action="store_true", help="also measure methods that share passes, as one call")
    add("--growth", action="store_true", help="also measure how time grows with units, repetitions and image size")
    add("--precision", choices=["bfloat16", "float16"])
    add("--quick", action="store_true", help="one network, batch 8, three methods, one backend: three minutes")
    add("--json", type=Path, help="write all figures to this file")
    add("--plot", type=Path, help="draw a chart of the ratios to this file")
    add("--show", type=Path, nargs="+", help="measure nothing, and show the figures in these files, of one machine")
    args = parser.parse_args()
    if args.quick:
        args.networks, args.batch, args.methods = ["ResNet50"], [8], ["gradcam", "gradients", "full_gradients"]
        args.backends = args.backends[-1:] if args.backends == list(KINDS) else args.backends
    found = tables.joined(args.show) if args.show else {"machine": machine(), "rows": []}
    for rows in () if args.show else measured(args):
        found["rows"] += rows
        save(found, args.json)  # an interrupted run keeps its finished rows
    tables.check(found["rows"])
    print(tables.table(found))
    save(found, args.json)
    if args.plot:
        tables.chart(found, args.plot)


def save(found: dict, file: Path | None) -> None:
    if file:
        file.write_text(json.dumps(found, indent=1))


def measured(args: argparse.Namespace) -> Iterator[list[dict]]:
    """Yield the rows of all backends, each measured in its own process."""
    shared = {"rounds": args.rounds, "budget": args.budget, "size": args.size, "peers": args.peers}
    for network in args.networks:
        for batch in args.batch:
            for kind in args.backends:
                options = shared | {"network": network, "batch": batch, "methods": args.methods}
                for section in ("methods", "groups") if args.groups else ("methods",):
                    yield worker(kind, options | {"section": section, "precision": args.precision})
    for kind in args.backends if args.growth else ():
        yield worker(kind, shared | {"section": "growth", "network": args.networks[0], "batch": args.batch[0]})


def worker(kind: str, options: dict) -> list[dict]:
    """Return the rows of one process. If it fails, a row says so."""
    what = [f"{options[key]}" for key in ("section", "network", "batch")]
    print(f"... {kind}, {', '.join(what)}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "bench.worker", kind, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    rows = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("ROW ")]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        rows.append({"backend": kind, "network": options["network"], "batch": options["batch"], "failed": last[:200]})
    return rows


def machine() -> dict:
    """Describe the machine and the versions that are measured."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"cores": len(os.sched_getaffinity(0)), "processor": processor(), "device": device(), "versions": versions}


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def device() -> str:
    try:
        found = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True
        )
        return found.stdout.strip() or "CPU"
    except OSError:
        return "CPU"


if __name__ == "__main__":
    main()
