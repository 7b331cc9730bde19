"""`ke.trust`: each check against its own definition, and maps whose verdict is known."""

import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_explainable as ke
from keras_explainable.evaluation.card import Trust
from keras_explainable.evaluation.check import Check
from keras_explainable.evaluation.trust import cells, moved, smoothed
from keras_explainable.viz import data_uris
from support.compare import as_numpy, close
from support.left_as_found import same, state
from support.selection import fast_on_torch, slow_compiled, very_slow_compiled

pytestmark = fast_on_torch


@pytest.fixture(scope="module")
def scene():
    images, labels, _ = ke.demo.load_scenes(2, seed=3, objects=2)
    return ke.demo.load_model(), images[:1].astype("float32")


@pytest.fixture(scope="module")
def card(scene):
    return ke.trust(*scene, quick=True)


def fixed(values):
    """A method with the same map for all models, images and units."""

    def method(model, inputs, indices, score=None):
        scores, _ = ke.methods.gradient.gradients(model, inputs, indices, score)
        return scores, ops.convert_to_tensor(
            np.broadcast_to(values[None, ..., None], (len(inputs), *values.shape, indices.shape[1])).astype("float32")
        )

    return method


@slow_compiled
def test_a_good_map_is_supported_and_each_value_is_what_it_says(scene, card):
    model, x = scene
    assert card.verdict == "supported" and card.method == "gradcam"
    logits = as_numpy(model(x))[0]
    assert card.unit == logits.argmax()
    second = np.sort(logits)[-2]
    probability = np.exp(logits.max()) / np.exp(logits).sum()
    assert f"{probability:.1%}" in card.checks["prediction"].said
    assert f"{logits.max() - second:.3g} above the next" in card.checks["prediction"].said
    own = ke.explain("gradcam", model, x, [int(logits.argmax())], resizing=True, verbose=0).maps
    close(card.map, own[0, ..., 0], atol=1e-5)
    other = ke.explain("gradcam", model, x, [int(np.argsort(logits)[-2])], resizing=True, verbose=0).maps
    ranks = [np.argsort(np.argsort(m.ravel(), kind="stable")) for m in (own, other)]
    if len(np.unique(own)) == own.size == len(np.unique(other)):
        assert abs(card.checks["class"].value - np.corrcoef(*ranks)[0, 1]) < 1e-3
    edges = ke.metrics.edge_likeness(x=x, maps=own).values[0, 0]
    assert abs(card.checks["edges"].value - edges) < 1e-6


def test_p_counts_the_moved_copies_that_are_as_good(scene, card):
    model, x = scene
    maps = smoothed(card.map[None, ..., None])
    y = [[card.unit]]
    values = [
        ke.metrics.srg(model, x, y, m, points=5).values[0, 0] for m in (maps, *moved(maps, 19, seed=0))
    ]  # fmt: skip
    assert card.checks["chance"].value == (1 + sum(v >= values[0] for v in values[1:])) / 20 == 0.05


def test_copies_are_the_map_in_other_places():
    maps = np.random.default_rng(0).normal(size=(1, 6, 8, 1))
    found = list(moved(maps, 40, seed=1))
    for copy in found:
        np.testing.assert_array_equal(np.sort(copy, None), np.sort(maps, None))
    mirrored = [np.flip(maps, axes) for axes in ((), (1,), (2,), (1, 2))]
    places = [[np.roll(m, (i, j), (1, 2)) for i in range(6) for j in range(8)] for m in mirrored]
    kinds = [next(k for k, some in enumerate(places) if any(np.array_equal(c, p) for p in some)) for c in found]
    assert set(kinds) == {0, 1, 2, 3}


def test_cells_are_means_over_parts_of_equal_size():
    maps = np.random.default_rng(0).normal(size=(1, 28, 42, 1))
    close(cells(maps), maps.reshape(1, 14, 2, 14, 3, 1).mean((2, 4)), rtol=1e-7)
    wide = smoothed(maps)
    close(wide[0, 4:6, 9:12, 0], np.full((2, 3), maps[0, 4:6, 9:12].mean()), rtol=1e-7)
    odd = smoothed(np.random.default_rng(1).normal(size=(1, 30, 9, 1)))
    assert odd.shape == (1, 30, 9, 1)


@pytest.mark.parametrize("kind", ["edges", "noise"])
def test_maps_that_know_nothing_of_the_model_are_contradicted(scene, kind):
    model, x = scene
    values = ke.metrics.baselines.BASELINES["sobel" if kind == "edges" else "uniform_noise"](x, 1, 0, 0)[0, ..., 0]
    found = ke.trust(model, x, method=fixed(values), quick=True)
    assert found.verdict == "contradicted"
    assert found.checks["model"].passed is False and found.checks["model"].value == pytest.approx(1)
    assert found.checks["class"].passed is False and found.checks["class"].value == pytest.approx(1)
    assert (found.checks["edges"].passed is False) == (kind == "edges")


def test_the_map_of_another_unit_is_not_supported(scene):
    model, x = scene
    absent = int(np.argmin(as_numpy(model(x))[0]))

    def of_absent(subject, inputs, indices, score=None):
        return ke.methods.cams.gradcam(subject, inputs, ops.zeros_like(indices) + absent, score)

    assert ke.trust(model, x, method=of_absent, quick=True).verdict != "supported"


@very_slow_compiled
def test_completeness_is_what_the_method_reports(scene):
    model, x = scene
    found = ke.trust(model, x, method=("integrated_gradients", {"repetitions": 40}), quick=True)
    gap = ke.integrated_gradients(model, x, [found.unit], repetitions=40, verbose=0).about["gap"]
    assert found.checks["completeness"].value == pytest.approx(gap, rel=1e-3)
    assert found.checks["completeness"].passed == (gap < 0.05)


def card_of(**changed):
    """A card whose checks all pass, but for those that are changed."""
    names = ("prediction", "chance", "model", "class", "noise", "agreement", "completeness", "edges")
    checks = {name: Check(name, True, "so") for name in names} | {n: Check(n, *given) for n, given in changed.items()}
    return Trust("gradcam", 1, checks, np.zeros((4, 4, 3)), np.zeros((4, 4)))


def test_the_verdict_follows_from_the_checks():
    assert card_of(completeness=(None, "no promise")).verdict == "supported"
    assert card_of(chance=(False, "p = .2", 0.2, False)).verdict == "undecided"
    assert card_of(chance=(False, "p = .7", 0.7, True)).verdict == "contradicted"
    assert card_of(chance=(None, "none")).verdict == "undecided"
    near = card_of(**{"class": (False, "near", 0.97, False)})
    assert near.verdict == "undecided" and near.lead.endswith("is undecided. It fails: depends on the class.")
    assert card_of(edges=(False, "edges", 0.9)).verdict == "undecided"


def test_a_black_box_has_no_weights():
    """A function that counts what is bright in two parts of the image."""

    def bright(images):
        x = np.asarray(images)
        return np.stack([x[:, 4:12, 4:12].mean((1, 2, 3)), x[:, 20:26, 18:26].mean((1, 2, 3))], axis=-1)

    x = np.zeros((1, 28, 28, 3), "float32")
    x[:, 4:12, 4:12], x[:, 20:26, 18:26] = 2, 1
    found = ke.trust(bright, x, method=("occlusion", {"patch": 4}), quick=True)
    assert found.checks["model"].passed is None and "no weights" in found.checks["model"].said
    assert found.unit == 0 and found.checks["chance"].passed and found.checks["class"].passed


def test_the_card_as_text_and_as_pages(card, tmp_path):
    text = card.text()
    assert text.startswith(f"The map of gradcam for unit {card.unit} is supported.")
    assert text.count("\n* ") == 7 and "quick=True" in text and str(card) == text
    page = card.to_html(tmp_path / "card.html").read_text("utf-8")
    assert "script-src 'sha256-" in page and page.count('class="pass"') == 6
    least, values = card.checks["agreement"].least
    said = card.checks["agreement"].said
    shares = {name: float(value) for name, value in re.findall(r"(\w+) (-?\d\.\d\d)", said)}
    assert min(shares, key=shares.get) == least and values.shape == card.map.shape
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert captions == ["the image", "gradcam", f"{least}, which agrees least"]
    assert data_uris.heat(values) in page and data_uris.heat(card.map) in page
    part = card._repr_html_()
    assert part.startswith("<style>") and "supported" in part and "data:image/png" in part


def test_the_same_seed_gives_the_same_card_and_the_model_is_left_as_it_was(scene):
    model, x = scene
    before = state(model)
    one, other = (ke.trust(model, x, quick=True, seed=5) for _ in range(2))
    assert one.text() == other.text()
    with pytest.raises(ke.errors.ExplainError):
        ke.trust(model, x, method="attention_rollout")
    same(before, state(model))


def test_one_image_and_one_unit(scene):
    model, x = scene
    with pytest.raises(ke.errors.InputError, match="More than one image came"):
        ke.trust(model, np.repeat(x, 2, axis=0))
    with pytest.raises(ke.errors.InputError, match="2 units came"):
        ke.trust(model, x, [[1, 2]])
    with pytest.raises(ke.errors.InputError, match="integers were expected"):
        ke.trust(model, x, ke.scores.margin(1, 2))
    with pytest.raises(ke.errors.MethodNameError):
        ke.trust(model, x, method="gradcamm")


def test_a_model_of_one_unit_has_no_next_one():
    inputs = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    outputs = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(maps))
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype("float32")
    found = ke.trust(keras.Model(inputs, outputs), x, [0], quick=True)
    assert found.checks["class"].passed is None
