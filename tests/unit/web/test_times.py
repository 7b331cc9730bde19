"""How long a person waits: for their own map, not for what others compute."""

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
import keras_explainable as ke
from support import web_times
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled


def test_nobody_waits_for_the_work_of_others():
    """By differences, which other work on this machine changes little."""
    found = web_times.measure(ke.load())
    assert found["RISE still ran"]
    assert found["Grad-CAM"] - found["of which it computes"] < 0.5
    assert found["Grad-CAM beside RISE"] - found["of which it computes, beside RISE"] < 1
    assert found["Stop"] < 2
