"""The value that has a rank, of rows with equal values, zeros and infinities: what sorting says."""

import numpy as np
import pytest
from keras import ops

from keras_explainable import backend


def ranked(values, ranks):
    return backend.order_statistics(values)(ranks)


@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.usefixtures("uncompiled")
def test_order_statistics_are_those_of_a_sorted_row(size, jit_compile):
    run = ranked if jit_compile is None else backend.compile(ranked, lambda: [], jit_compile, False)
    values = abs(np.random.default_rng(size).normal(size=(4, size))).astype("float32")
    values[0, ::3], values[1, ::2], values[2] = 0.0, np.inf, values[2, 0]
    ordered = np.sort(values, axis=-1)
    for rank in {0, size // 3, size - 1}:
        ranks = np.clip(rank + np.arange(4)[:, None] - 1, 0, size - 1).astype("int32")  # another in each row
        found = ops.convert_to_numpy(run(ops.convert_to_tensor(values), ops.convert_to_tensor(ranks)))
        np.testing.assert_array_equal(found, np.take_along_axis(ordered, ranks, axis=-1))
