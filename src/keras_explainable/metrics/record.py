"""What is known about each metric."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class MetricNeed(StrEnum):
    """What a metric needs besides maps."""

    model = "model"
    images = "images"
    masks = "masks"
    objects = "objects"
    method = "method"
    weights = "weights"


@dataclass(frozen=True)
class MetricRecord:
    """What is known about a metric, for tables, the command line and tests."""

    name: str
    function: Callable  # the public function of a model, images, units and maps
    of_case: Callable  # the function of a case and maps
    group: str  # "faithfulness", "localisation", "robustness", "randomisation", "complexity" or "axioms"
    needs: frozenset[MetricNeed]
    better: Literal["higher", "lower", ""]  # "" if neither is: the metric describes maps, and does not rank them
    cost: str  # the passes of the model for each image and unit
    chance: str  # the value of random maps, in words if it depends on the data
    reference: str

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return " ".join((self.function.__doc__ or "").strip().split("\n\n")[0].split())

    @property
    def chance_level(self) -> float | None:
        """`chance` as a number; None if it is in words."""
        try:
            return float(self.chance)
        except ValueError:
            return None


METRICS: dict[str, MetricRecord] = {}


def listed() -> list[MetricRecord]:
    """The records of all metrics, in the order of their registration."""
    return list(METRICS.values())
