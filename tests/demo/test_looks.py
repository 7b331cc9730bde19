"""Where each method looks on the demo scenes: a method that finds no objects is broken, or says so in the registry."""

import inspect
from pathlib import Path

import pytest

import keras_explainable as ke
from helpers import BACKEND
from keras_explainable.demo import gallery

# The share of maps whose peak lies on the object, at least; a random pixel has 8 %, the centre 12 %.
FLOORS = {"cam": 0.8, "propagation": 0.7, "perturbation": 0.7, "full gradient": 0.4, "gradient": 0.3, "attention": 0.5}
DOCS = Path(__file__).resolve().parents[2] / "docs"


def methods():
    """Those that the demo's network can be explained by; slow ones are of many passes."""
    for name in sorted(ke.registry.METHODS):
        record = ke.registry.METHODS[name]
        many = "repetitions" in inspect.signature(record.function).parameters or record.cost.startswith("(")
        yield pytest.param(name, marks=pytest.mark.slow if many or BACKEND != "torch" else ())


@pytest.fixture(scope="module")
def judged():
    loaded = gallery.loading.load(None)
    objects = gallery.every_object(loaded, 1).of(slice(0, 32))
    return {False: loaded.model, True: ke.demo.load_transformer()}, objects


@pytest.mark.parametrize("name", list(methods()))
def test_it_looks_at_the_object(judged, name):
    models, objects = judged
    record = ke.registry.METHODS[name]
    row = gallery.run(name, models["attention" in record.needs], objects, 1, gallery.DRAWS)
    chance = gallery.baselines(objects.masks)[0].points
    assert row.points >= (FLOORS[record.family] if not record.caveat else 0), row.points
    assert row.mass > (chance if not record.caveat else 0)


def test_caveats_are_said():
    assert {name for name, record in ke.registry.METHODS.items() if record.caveat} == {
        "attention_rollout",
        "eigencam",
        "deconvnet",
    }


@pytest.mark.skipif(not DOCS.exists(), reason="the documents are not installed with the package")
def test_the_page_of_methods_has_every_method():
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    for name, record in ke.registry.METHODS.items():
        assert f"### `ke.{name}`\n\n{record.summary}" in page, "make docs"
        assert (DOCS / "methods" / f"{name}.jpg").exists()
