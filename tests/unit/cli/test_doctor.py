"""What `doctor` prints: versions, the backend, its device, what is installed, and whether a first map is made."""

import keras
import pytest

import keras_explainable as ke

pytest.importorskip("typer")
from keras_explainable.cli import doctor
from support.selection import BACKEND, fast_on_torch

pytestmark = fast_on_torch


def test_it_says_what_a_report_of_an_error_needs():
    facts = dict(doctor.facts())
    assert facts["keras-explainable"] == ke.__version__ and facts["Keras"] == f"{keras.__version__} on {BACKEND}"
    assert facts[BACKEND] != doctor.MISSING and facts["device"] and facts["BLAS"]
    assert facts["first map"] == "gradcam of the embedded network, 96 x 96: works"


def test_what_is_not_installed_is_said():
    assert doctor._first(["no-such-package"]) == "not installed" and doctor._first(["no-such-package", "keras"])


def test_an_installation_that_makes_no_map_is_reported(monkeypatch):
    monkeypatch.setattr(ke.demo, "load_model", lambda: 1 / 0)
    assert doctor._first_map(ke) == "fails: ZeroDivisionError: division by zero"
