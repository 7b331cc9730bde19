"""What a run over many images costs: the tables of docs/distributed.md, or a row for a rate that you measured.

python -m tools.run_costs                                     the tables
python -m tools.run_costs --rate 640 --name "my GPU"          and a row for it"""

import argparse
from typing import NamedTuple

MANY = (("1 million", 10**6), ("1 billion", 10**9))
AT_ONCE = 100  # workers
# Measured on two cores of an AMD EPYC: docs/speed.md has the pass, `decode` of a JPEG of 500 x 375 pixels took 4.3 ms.
PASS, BATCH, CORES, GRADCAM, DECODING = 0.36, 8, 2, 1.03, 0.0043
ROW, REST = (
    17,
    40,
)  # bytes: a map's ends, score, unit and status; its rows in the plan and in the last table, and records


class Worker(NamedTuple):
    """What explains images, how many a second, and whether that was measured."""

    name: str
    rate: float
    measured: bool


def core() -> Worker:
    """A core that decodes and explains."""
    return Worker("CPU core", 1 / (PASS * GRADCAM * CORES / BATCH + DECODING), True)


WORKERS = (core(), Worker("GPU", 500, False), Worker("faster GPU", 2000, False))


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}" if seconds >= 10 * length else f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit, length in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:.0f} {unit}" if count >= 10 * length else f"{count / length:.1f} {unit}"
    return f"{count:.0f} bytes"


def times(workers: tuple[Worker, ...] = WORKERS) -> str:
    """The table of times: for each kind of worker, of one and of many at once."""
    heads = ["worker", "images/s", "cores to decode"]
    heads += [f"{name}: {many} worker{'s' if many > 1 else ''}" for name, _ in MANY for many in (1, AT_ONCE)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for worker in workers:
        decoding = "itself" if worker.name == core().name else f"{worker.rate * DECODING:.1f}"
        rate = f"{worker.rate:,.1f}" if worker.measured else f"{worker.rate:,.0f} (assumed)"
        each = [duration(count / worker.rate / many) for _, count in MANY for many in (1, AT_ONCE)]
        lines.append(f"| {' | '.join([worker.name, rate, decoding, *each])} |")
    return "\n".join(lines)


def stored(grid: int = 7, image: int = 224) -> str:
    """The table of bytes stored for one unit of each image, before compression."""
    lines = [f"| stored | bytes an image | {' | '.join(name for name, _ in MANY)} |", "|---" * (2 + len(MANY)) + "|"]
    for name, pixels, width in (
        (f"maps of a layer, {grid} x {grid}, as `uint8` (the default)", grid * grid, 1),
        ("the same as `float32`", grid * grid, 4),
        (f"maps of {image} x {image} as `uint8` (`--resolution image`)", image * image, 1),
    ):
        one = pixels * width + ROW + REST
        lines.append(f"| {name} | {one:,} |" + "".join(f" {size(one * count)} |" for _, count in MANY))
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, help="images a second of one worker, as a run prints it")
    parser.add_argument("--name", default="yours")
    given = parser.parse_args()
    own = (Worker(given.name, given.rate, True),) if given.rate else ()
    print(f"{times(WORKERS + own)}\n\n{stored()}")


if __name__ == "__main__":
    main()
