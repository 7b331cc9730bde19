"""The card of one map: a verdict, a sentence for each check, and the limits of the checks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_explainable.evaluation.check import Check
from keras_explainable.viz import output, trust_card

# By `tools/calibrate_trust.py --scenes 8`, on 12 objects, 18 methods and two networks.
CALIBRATED = (
    "On scenes with known ground truth, 41 of 41 supported maps were right (at least 93 %, with 95 % confidence), "
    "78 of 95 undecided ones, and 24 of 67 contradicted ones."
)
CAVEATS = (
    "The checks are necessary, not sufficient: a map that passes them can still be wrong.",
    "The verdict is about the model, not about the world: a model may look at the right place for the wrong reason.",
    "It is about this image and this unit only.",
    "Images with filled pixels are unusual inputs for a model.",
    "Methods that agree may share the same bias.",
)
QUESTIONS = {
    "prediction": "What does the model say?",
    "chance": "Better than chance?",
    "model": "Depends on the model?",
    "class": "Depends on the class?",
    "noise": "Withstands noise?",
    "agreement": "Agrees with other methods?",
    "completeness": "Adds up?",
    "edges": "No edge detector?",
}
ANSWERS = {True: "yes", False: "no", None: "-"}


@dataclass(frozen=True)
class Trust:
    """Whether a map can be trusted (see `ke.trust`).

    Args:
        method: its name.
        unit: the explained unit.
        checks: by name; `passed` is True, False, or None if the check does not apply.
        image: (*S, C).
        map: (*S), raw.
        about: as in an explanation.
        label: the name of the unit, if it has one.
        quick: whether the checks used fewer repetitions.
    """

    method: str
    unit: int
    checks: dict[str, Check]
    image: np.ndarray = field(repr=False)
    map: np.ndarray = field(repr=False)
    about: dict[str, Any] = field(default_factory=dict, repr=False)
    label: str = ""
    quick: bool = False

    @property
    def verdict(self) -> str:
        """ "contradicted" if one of the checks contradicts the map; "supported" if all checks that apply pass, chance
        among them; "undecided" otherwise."""
        if any(check.contradicts for check in self.checks.values()):
            return "contradicted"
        judged = [check.passed for check in self.checks.values() if check.passed is not None]
        return "supported" if all(judged) and self.checks["chance"].passed else "undecided"

    @property
    def lead(self) -> str:
        """The verdict in a sentence."""
        failed = [QUESTIONS[name].rstrip("?").lower() for name, check in self.checks.items() if check.passed is False]
        why = f" It fails: {', '.join(failed)}." if failed else ""
        return f"The map of {self.method} for {self.label or f'unit {self.unit}'} is {self.verdict}.{why}"

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the checks cannot say."""
        less = ("With quick=True, the checks used fewer repetitions and are less reliable.",) if self.quick else ()
        return (*less, CALIBRATED, *CAVEATS)

    def text(self) -> str:
        """The card as text."""
        width = max(map(len, QUESTIONS.values()))
        lines = [
            f"  {QUESTIONS[n]:<{width}}  {ANSWERS[c.passed]:<3}  {_sentence(c.said)}" for n, c in self.checks.items()
        ]
        return "\n".join([self.lead, *lines, *(f"* {caveat}" for caveat in self.caveats)])

    def __str__(self) -> str:
        return self.text()

    def to_html(self, path: Any) -> Path:
        """Write the card to one self-contained HTML file.

        Raises:
            BackendError: pillow is not installed. OutputError: the file cannot be written.
        """
        page = trust_card.report(*self._parts())
        return output.write(Path(path), lambda file: file.write(page.encode()))

    def _repr_html_(self) -> str:
        return trust_card.fragment(*self._parts())

    def _parts(self) -> tuple:
        rows = [trust_card.Row(QUESTIONS[n], check.passed, _sentence(check.said)) for n, check in self.checks.items()]
        maps = {self.method: self.map}
        if self.checks["agreement"].least:
            name, other = self.checks["agreement"].least
            maps[f"{name}, which agrees least"] = other
        return self.lead, self.verdict, rows, self.caveats, self.image, maps


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
