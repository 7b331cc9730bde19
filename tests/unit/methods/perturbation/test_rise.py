"""RISE: equal to its twin on given masks."""

import pytest

from keras_explainable.methods.perturbation.rise import rise_rows
from reference import perturbation as twins
from support.calls import raw
from support.compare import close
from support.perturbation import KINDS, SEED, subject
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled


@pytest.mark.parametrize("kind", KINDS)
def test_rise_equals_its_twin(kind):
    ours, theirs, size, colour = subject(kind)
    cells = tuple(2 + axis for axis in range(len(size)))
    seen, shifts = rise_rows(9, cells, size, 0.4, SEED)
    params = {"repetitions": 9, "grid": cells, "p": 0.4, "seed": SEED, "baseline": colour}
    close(raw("rise", *ours, **params), twins.rise(*theirs, seen, shifts, colour), 1e-4)
