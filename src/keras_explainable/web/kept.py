"""Values that are kept in memory as long as there is room."""

import threading
from collections import OrderedDict
from typing import Any


class Kept:
    """Values by name. Those that were used longest ago are dropped when all take more than `most` bytes."""

    def __init__(self, most: int) -> None:
        self.most, self.bytes = most, 0
        self._held: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Any:
        """The value, or None if it is not there."""
        with self._lock:
            if name not in self._held:
                return None
            self._held.move_to_end(name)
            return self._held[name][0]

    def put(self, name: str, value: Any, size: int) -> None:
        """Keep a value of `size` bytes. The newest value is kept even if it alone is too large."""
        with self._lock:
            self.bytes += size - self._held.pop(name, (None, 0))[1]
            self._held[name] = value, size
            while self.bytes > self.most and len(self._held) > 1:
                self.bytes -= self._held.popitem(last=False)[1][1]
