"""Occlusion: equal to its twin."""

import pytest

from reference import perturbation as twins
from support.calls import raw
from support.compare import close
from support.perturbation import KINDS, subject
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled


@pytest.mark.parametrize("kind", KINDS)
def test_occlusion_equals_its_twin(kind):
    ours, theirs, size, colour = subject(kind)
    patch, stride = [(n + 2) // 3 for n in size], [(n + 3) // 4 for n in size]
    params = {"patch": tuple(patch), "stride": tuple(stride), "baseline": colour}
    close(raw("occlusion", *ours, at_once=7, **params), twins.occlusion(*theirs, **params), 1e-4)
