"""Where each method looks on the demo scenes: a method that finds no objects is broken, or says so in the registry."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.gallery import gallery
from support.compare import close
from support.selection import fast_on_torch, slow, very_slow, very_slow_compiled

pytestmark = fast_on_torch

# Of each method the share of maps whose peak lies on the object, at least: what was measured, with these draws, less a
# tenth. Seeds are fixed. A random pixel has 8 %, the centre 12 %. A method that is not in the table has the floor `LEAST`.
FLOORS = {
    "ablationcam": 0.85,
    "attention_relevance": 0.70,
    "attention_rollout": 0.30,
    "attnlrp": 0.70,
    "blur_ig": 0.50,
    "cam": 0.80,
    "deconvnet": 0.00,
    "deep_shap": 0.85,
    "deeplift": 0.85,
    "eigencam": 0.40,
    "eigengradcam": 0.85,
    "excitation_backprop": 0.80,
    "expected_gradients": 0.90,
    "finercam": 0.85,
    "full_gradients": 0.55,
    "gradcam": 0.80,
    "gradcampp": 0.80,
    "gradient_attention_rollout": 0.70,
    "gradient_shap": 0.75,
    "gradients": 0.40,
    "guided_backprop": 0.75,
    "guided_gradcam": 0.80,
    "guided_ig": 0.90,
    "hirescam": 0.80,
    "hsic": 0.75,
    "input_x_gradient": 0.80,
    "integrated_gradients": 0.80,
    "kernel_shap": 0.80,
    "layercam": 0.80,
    "lime": 0.75,
    "lrp_epsilon": 0.80,
    "lrp_epsilon_alpha2_beta1": 0.75,
    "lrp_epsilon_gamma_box": 0.85,
    "lrp_epsilon_plus": 0.90,
    "lrp_epsilon_plus_flat": 0.90,
    "occlusion": 0.75,
    "rise": 0.90,
    "scorecam": 0.85,
    "simple_full_gradients": 0.45,
    "smooth_full_gradients": 0.15,
    "smooth_gradcampp": 0.80,
    "smoothgrad": 0.25,
    "sobol": 0.75,
    "squaregrad": 0.20,
    "vargrad": 0.20,
    "xgradcam": 0.80,
    "xrai": 0.70,
}
DRAWS = {ke.registry.Need.GRADIENT: 4, ke.registry.Need.BLACK_BOX: 60}  # repetitions at most
MANY = {"C", "windows", "segments"}  # the letters in the cost of a method of many passes
LEAST = 0.30
DOCS = Path(__file__).resolve().parents[3] / "docs"


def methods():
    """All of them; slow ones are of many passes, or compiled."""
    for name, record in sorted(ke.registry.METHODS.items()):
        yield pytest.param(name, marks=very_slow if MANY & record.cost.letters else very_slow_compiled)


@pytest.fixture(scope="module")
def judged():
    loaded = gallery.loading.load(None)
    objects = gallery.every_object(loaded, 1).of(slice(0, 32))
    return {False: loaded.model, True: ke.demo.load_transformer()}, objects, gallery.references(loaded)


@slow
@pytest.mark.parametrize("name", list(methods()))
def test_it_looks_at_the_object(judged, name):
    models, objects, others = judged
    record = ke.registry.METHODS[name]
    model = models[ke.registry.Need.ATTENTION in record.needs]
    row = gallery.run([name], model, objects, 1, DRAWS, others, {})[name]
    chance = gallery.baselines(models[False], objects)[0].points
    floor = FLOORS.get(name, 0.0 if record.caveat else LEAST)
    assert row.points >= floor
    assert record.caveat or (floor > chance and row.mass > chance)


@very_slow_compiled
def test_deep_shap_compares_with_other_scenes_and_is_no_second_deeplift(judged):
    models, objects, others = judged
    some = objects.of(slice(0, 8))
    maps = gallery.run(["deep_shap"], models[False], some, 1, DRAWS, others, {})["deep_shap"].maps
    alone = gallery.run(["deeplift"], models[False], some, 1, DRAWS, others, {})["deeplift"].maps
    assert abs(maps - alone).mean() > 0.02  # both are in 0..1
    plain = ke.registry.get("deeplift")
    each = [
        ke.explain(plain, models[False], some.inputs, some.units, verbose=0, baseline=other).maps for other in others
    ]
    mean = np.abs(np.mean(each, axis=0)[..., 0])
    low, high = mean.min((1, 2), keepdims=True), mean.max((1, 2), keepdims=True)
    close(maps, (mean - low) / (high - low), atol=1e-4)
    explained = {photo.tobytes() for photo in objects.photos}
    assert len(others) == gallery.REFERENCES and not any(x.astype("uint8").tobytes() in explained for x in others)


def test_caveats_are_said():
    said = {name for name in FLOORS if ke.registry.METHODS[name].caveat}
    assert said == {"attention_rollout", "eigencam", "deconvnet"}


@pytest.mark.skipif(not DOCS.exists(), reason="the documents are not installed with the package")
def test_the_page_of_methods_has_every_method():
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    for name, record in ke.registry.METHODS.items():
        assert f"### `ke.{name}`\n\n{record.summary}" in page, "make docs"
        assert (DOCS / "methods" / f"{name}.jpg").exists()


@pytest.mark.skipif(not (DOCS / "build_methods_page.py").exists(), reason="the documents are not installed")
def test_the_tables_of_methods_are_up_to_date():
    pages = runpy.run_path(str(DOCS / "build_methods_page.py"))
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert readme == pages["with_table"](readme), "out of date: run make docs"
    assert pages["table"]() in (DOCS / "methods.md").read_text(encoding="utf-8"), "out of date: run make docs"
