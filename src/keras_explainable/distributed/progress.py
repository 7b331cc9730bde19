"""Shows how far a run is."""

import sys
import time

from keras_explainable.distributed.commits import Record
from keras_explainable.distributed.layout import Layout

EVERY = 2.0, 30.0  # seconds between two lines on a terminal, and elsewhere


class Progress:
    """Prints the number of images that are done, how many each second, and the time that is left."""

    def __init__(self, layout: Layout, done: int, verbose: int | str) -> None:
        self.layout, self.aside = layout, 0
        self.before = self.images = min(layout.images, done * layout.part_size)
        self.start: float | None = None  # of the first part that ends: before, models are loaded
        self.first = self.shown = 0.0
        self.on = verbose not in (0, "0", False)
        self.terminal = sys.stderr is not None and sys.stderr.isatty()

    def add(self, record: Record) -> None:
        """Count a part that is done."""
        self.images += record.count
        self.aside += record.count if record.given_up else len(record.aside)
        now = time.time()
        if self.start is None:
            self.start, self.first = now, self.images
        last = self.images >= self.layout.images
        if self.on and (last or now - self.shown > EVERY[not self.terminal]):
            self.shown = now
            print(self.line(now), end="\n" if last or not self.terminal else "\r", file=sys.stderr, flush=True)

    def line(self, now: float) -> str:
        """What is shown."""
        took = now - (self.start or now)
        speed = (self.images - self.first) / took if took > 0 else 0.0
        left = f", {duration((self.layout.images - self.images) / speed)} left" if speed else ""
        aside = f", {self.aside:,} set aside" if self.aside else ""
        rate = f", {speed:.1f}/s" if speed else ""
        return f"{self.images:,} of {self.layout.images:,} images{rate}{aside}{left}"


def duration(seconds: float) -> str:
    """A time in words: 42 s, 7 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
