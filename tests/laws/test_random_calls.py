"""Random calls, right and wrong ones: each is an explanation or an error of ours, and leaves the model as it was."""

from collections import Counter

import pytest

from support import random_calls
from support.selection import BACKEND, slow, slow_compiled, very_slow

# Elsewhere than on PyTorch nearly all time goes into compiling. Fifty calls try every method at least once.
AT_ONCE = 100 if BACKEND == "torch" else 50
CALLS, MANY = 5 * AT_ONCE if BACKEND == "torch" else AT_ONCE, 10_000


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(n, marks=slow_compiled if n == 0 else slow if n < CALLS else very_slow)
        for n in range(0, MANY, AT_ONCE)
    ],
)
def test_a_call_explains_or_is_refused_by_one_error_of_ours(start):
    made, wrong = Counter(), []
    for number in range(start, start + AT_ONCE):
        request = random_calls.call(number)
        outcome, flaw = random_calls.answer(request)
        made[outcome] += 1
        if flaw:
            wrong.append(f"{request}\n    {flaw}")
    assert not wrong, "\n".join(wrong)
    assert made["maps"] > AT_ONCE / 8 and made["InputError"] > AT_ONCE / 8, made  # both are tried
