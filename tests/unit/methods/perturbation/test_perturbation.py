"""Perturbation methods: their twins on given masks, closed forms of linear and additive scores, what they are called
on, Captum's definitions, and what they refuse."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable.errors import InputError
from keras_explainable.methods import meta
from keras_explainable.methods.perturbation.kernel_shap import coalitions, shapley_coefficients
from keras_explainable.methods.perturbation.lime import lime_rows
from keras_explainable.methods.perturbation.rise import rise_rows
from keras_explainable.methods.perturbation.segments import grid as grid_segments
from keras_explainable.numerics import random
from keras_explainable.numerics.resize import resize
from reference import perturbation as twins
from support import keras_models
from support.calls import module, raw
from support.compare import close
from support.keras_models import SHAPE, counted
from support.selection import BACKEND, ON_TORCH_CPU, first_fast, very_slow_compiled
from support.to_reference import as_reference

pytestmark = very_slow_compiled

UNITS = np.array([[1, 4], [0, 0], [3, 2]])
KINDS = first_fast("one_dimensional", "functional", "channels_first", "three_dimensional")
quick = pytest.mark.skipif(BACKEND != "torch", reason="about NumPy alone, which is quickest on PyTorch")
SEED = 5
SPACE = keras_models.SIZE


def subject(kind):
    """The model and images of a kind, its twin and theirs, the images' size, and a baseline for both."""
    model, x = keras_models.build(kind), keras_models.images(kind)
    x64 = keras_models.channels_last(kind, x.astype("float64"))
    colour = np.linspace(-0.5, 0.5, x64.shape[-1]).astype("float32")
    return (model, x, UNITS), (as_reference(model), x64, UNITS), x64.shape[1:-1], colour


@pytest.mark.parametrize("kind", KINDS)
def test_occlusion_equals_its_twin(kind):
    ours, theirs, size, colour = subject(kind)
    patch, stride = [(n + 2) // 3 for n in size], [(n + 3) // 4 for n in size]
    params = {"patch": tuple(patch), "stride": tuple(stride), "baseline": colour}
    close(raw("occlusion", *ours, at_once=7, **params), twins.occlusion(*theirs, **params), 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_rise_equals_its_twin(kind):
    ours, theirs, size, colour = subject(kind)
    cells = tuple(2 + axis for axis in range(len(size)))
    seen, shifts = rise_rows(9, cells, size, 0.4, SEED)
    params = {"repetitions": 9, "grid": cells, "p": 0.4, "seed": SEED, "baseline": colour}
    close(raw("rise", *ours, **params), twins.rise(*theirs, seen, shifts, colour), 1e-4)


def grid(size):
    """Six segments, and what names them."""
    cells = (6,) if len(size) == 1 else (2, 3, *(1,) * (len(size) - 2))
    return {"segments": cells, "seed": SEED}, grid_segments(size, cells)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_lime_equals_its_twin(kind):
    ours, theirs, size, colour = subject(kind)
    params, labels = grid(size)
    expected = twins.lime(*theirs, labels, lime_rows(20, 6, SEED), 0.3, 0.5, colour)
    close(raw("lime", *ours, repetitions=20, width=0.3, ridge=0.5, baseline=colour, **params), expected, 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_kernel_shap_of_all_coalitions_is_the_shapley_values(kind):
    ours, theirs, size, colour = subject(kind)
    params, labels = grid(size)
    close(
        raw("kernel_shap", *ours, repetitions=62, baseline=colour, **params),
        twins.kernel_shap(*theirs, labels, colour),
        1e-4,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_sobol_equals_its_twin(kind):
    ours, theirs, size, colour = subject(kind)
    params, labels = grid(size)
    a, b = (random.on_host((4, 6), SEED, 0, stream) for stream in (0, 1))
    close(
        raw("sobol", *ours, repetitions=4, baseline=colour, **params),
        twins.sobol(*theirs, labels, a, b, colour),
        1e-4,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_hsic_equals_its_twin(kind):
    ours, theirs, size, colour = subject(kind)
    params, labels = grid(size)
    z = random.on_host((21, 6), SEED) < 0.5
    close(raw("hsic", *ours, repetitions=21, baseline=colour, **params), twins.hsic(*theirs, labels, z, colour), 1e-4)


W = np.random.default_rng(5).normal(size=(*SHAPE, 4))


def linear(images):
    """Scores <x, w_k> (B, 4), a function of NumPy arrays."""
    assert isinstance(images, np.ndarray)
    return np.einsum("bhwc,hwck->bk", images, W)


def contributions(x, baseline, labels):
    """Of each segment to a linear score: sum of w (x - baseline), (B, n, K)."""
    products = ((x - baseline)[..., None] * W).sum(axis=3)
    return np.stack([products[:, labels == j].sum(axis=1) for j in range(labels.max() + 1)], axis=1)


@pytest.fixture
def x():
    return keras_models.images("functional")


@quick
@pytest.mark.parametrize("baseline", [0.3, "mean", "images"])
def test_on_a_linear_score_each_part_has_its_own(x, baseline):
    given = keras_models.images("functional", seed=8) if baseline == "images" else baseline
    behind = x.mean(axis=(1, 2), keepdims=True) if baseline == "mean" else given
    labels = grid_segments(SPACE, (4, 4))[0]
    parts = contributions(x.astype("float64"), behind, labels)
    expected = np.moveaxis(parts, 1, -1)[..., labels].transpose(0, 2, 3, 1)
    scores = linear(x)
    ours = raw("occlusion", linear, x, patch=(5, 6), stride=(5, 6), baseline=given)
    close(ours, [scores, expected], 1e-4)
    close(raw("kernel_shap", linear, x, repetitions=200, segments=4, baseline=given), [scores, expected], 1e-3)
    close(raw("lime", linear, x, repetitions=200, segments=4, ridge=0.0, baseline=given), [scores, expected], 1e-3)


@quick
def test_sobol_and_hsic_of_a_linear_score_rise_with_its_parts(x):
    labels = grid_segments(SPACE, (2, 3))[0]
    parts = contributions(x.astype("float64"), 0.0, labels)
    share = parts**2 / (parts**2).sum(axis=1, keepdims=True)  # additive: total indices are shares of the variance
    found = raw("sobol", linear, x, repetitions=1500, segments=(2, 3), baseline=0.0, at_once=4000).maps
    np.testing.assert_allclose(found[:, labels == 4][:, 0], share[:, 4], atol=0.05)
    first = np.stack([found[:, labels == j][:, 0] for j in range(6)], axis=1)
    np.testing.assert_allclose(first, share, atol=0.08)
    hsic = raw("hsic", linear, x, repetitions=800, segments=(2, 3), baseline=0.0, at_once=4000).maps
    dependence = np.stack([hsic[:, labels == j][:, 0] for j in range(6)], axis=1)
    assert (dependence.argmax(axis=1) == share.argmax(axis=1)).all()


def test_shapley_values_are_complete_symmetric_and_zero_for_a_dummy(x):
    def product(images):  # of two segments of four; the others play no part
        left, right = images[:, :10, :12].mean(axis=(1, 2, 3)), images[:, 10:, 12:].mean(axis=(1, 2, 3))
        return (left * right)[:, None]

    scores, maps = raw("kernel_shap", product, x, segments=2, baseline=0.0)
    np.testing.assert_allclose(maps[:, 0, 0], maps[:, -1, -1], rtol=1e-4)
    np.testing.assert_allclose(2 * maps[:, 0, 0], scores, rtol=1e-4)
    assert abs(maps[:, 0, -1]).max() < 1e-6 * abs(maps).max()


@quick
def test_drawn_coalitions_solve_the_weighted_regression():
    rng = np.random.default_rng(0)
    some = coalitions(60, 7, 3)
    z, weights = some.drawn(0, 60)
    assert len(z) == 60 and (weights == 1).all() and set(z.sum(axis=1)) <= set(range(1, 7))
    np.testing.assert_array_equal(z[::2] + z[1::2], 1)
    f, empty, full = rng.normal(size=60), 0.7, 2.0
    # The Lagrange conditions of least squares under sum phi = full - empty.
    system = np.block([[z.T @ z, np.ones((7, 1))], [np.ones((1, 7)), np.zeros((1, 1))]])
    phi = np.linalg.solve(system, np.append(z.T @ (f - empty), full - empty))[:7]
    of_none, coefficients = shapley_coefficients(some, 7)
    ours = of_none * (empty - full) + coefficients(z, weights).T @ (f - full)
    np.testing.assert_allclose(ours, phi, rtol=1e-8)
    sizes = coalitions(40_000, 18, 3).drawn(0, 40_000)[0].sum(axis=1)
    share = np.array([1 / (s * (18 - s)) for s in range(1, 18)])
    np.testing.assert_allclose(np.bincount(sizes.astype(int))[1:] / 40_000, share / share.sum(), atol=0.01)


@quick
def test_drawn_coalitions_come_near_the_shapley_values(x):
    model = keras_models.build("functional")
    exact = raw("kernel_shap", model, x, UNITS, segments=3, repetitions=510).maps
    drawn = raw("kernel_shap", model, x, UNITS, segments=3, repetitions=300).maps
    assert np.corrcoef(exact.ravel(), drawn.ravel())[0, 1] > 0.9


def test_segments_are_a_grid_labels_or_a_function(x):
    labels = grid_segments(SPACE, (2, 3))[0]
    same = {"repetitions": 62}
    expected = raw("kernel_shap", linear, x, segments=(2, 3), **same)
    many = np.stack([labels, labels * 7 + 2, labels[::-1]])
    one = raw("kernel_shap", linear, x, segments=labels, **same)
    per_image = raw("kernel_shap", linear, x, segments=many, **same)
    close(one, expected)
    close([per_image.maps[:2]], [expected.maps[:2]])
    by_function = raw("kernel_shap", linear, x, segments=lambda images: np.stack([labels] * len(images)), batch_size=2)
    close(by_function, expected, 1e-4)
    with pytest.raises(InputError, match="give a function from images to labels"):
        raw("kernel_shap", linear, x, segments=many, batch_size=2)


def numbered():
    """Four images, whose first value says in how many columns of two segments they are cut."""
    x = keras_models.images("functional", 4, seed=2)
    x[:, 0, 0, 0] = [1, 3, 2, 3]
    return x


def columns(images):
    return np.stack([grid_segments(SPACE, (2, int(image.flat[0])))[0] for image in images])


TWINS = {  # with what is drawn for n segments
    "lime": lambda *args, n: twins.lime(*args, lime_rows(20, n, SEED)),
    "kernel_shap": lambda *args, n: twins.kernel_shap(*args),
    "sobol": lambda *args, n: twins.sobol(*args, *(random.on_host((20, n), SEED, 0, stream) for stream in (0, 1))),
    "hsic": lambda *args, n: twins.hsic(*args, random.on_host((20, n), SEED) < 0.5),
}


@pytest.mark.parametrize("method", TWINS)
def test_an_image_is_explained_by_its_own_segments_whatever_its_neighbours(method):
    model, x = keras_models.build("functional"), numbered()
    labels = columns(x)
    params = {"seed": SEED, "baseline": 0.0, "repetitions": 62 if method == "kernel_shap" else 20}
    together = raw(method, model, x, 1, segments=columns, **params)
    for batch_size in (1, 3):
        close(raw(method, model, x, 1, segments=columns, batch_size=batch_size, **params), together, 1e-4)
    for b, image in enumerate(x.astype("float64")):
        expected = TWINS[method](as_reference(model), image[None], 1, labels[b], n=labels[b].max() + 1)
        close([together.maps[b : b + 1]], [expected[1]], 1e-4)


@quick
def test_drawn_shapley_values_add_up_for_each_image():
    x = numbered()

    def score(images):
        return np.tanh(linear(images) / 20)

    drawn = {"repetitions": 40, "segments": columns, "baseline": 0.3}  # fewer than 2^6 - 2
    scores, maps = raw("kernel_shap", score, x, **drawn)
    close(raw("kernel_shap", score, x, batch_size=1, **drawn), (scores, maps), 1e-4)
    for b, labels in enumerate(columns(x)):
        _, first = np.unique(labels, return_index=True)
        total = maps[b].reshape(-1, 4)[first].sum(axis=0)
        np.testing.assert_allclose(total, (scores - score(np.full_like(x, 0.3)))[b], atol=1e-4)


@quick
@pytest.mark.parametrize("method", TWINS)
def test_an_image_of_one_segment_has_a_plain_map(method):
    x = keras_models.images("functional", 2)
    labels = np.stack([np.zeros(SPACE, int), grid_segments(SPACE, (2, 2))[0]])
    maps = raw(method, linear, x, 1, segments=labels, repetitions=30, baseline=0.0).maps
    assert np.isfinite(maps).all() and np.ptp(maps[0]) == 0 < np.ptp(maps[1])
    if method == "kernel_shap":
        np.testing.assert_allclose(maps[0, 0, 0, 0], linear(x)[0, 1], rtol=1e-4)


def of_any_size():
    conv = L.Conv2D(6, 3, activation="relu")
    return keras_models.randomize(
        keras.Sequential([keras.Input((None, None, 3)), conv, L.GlobalAveragePooling2D(), L.Dense(2)])
    )


FOR_SIZES = {
    "rise": {"repetitions": 8, "grid": 3},
    "occlusion": {"patch": 5, "stride": 4},
    "lime": {"repetitions": 8, "segments": 2},
    "sobol": {"repetitions": 2, "segments": 2},
}


@pytest.mark.parametrize("method", FOR_SIZES)
def test_images_of_another_size_have_masks_of_their_own(method):
    model, rng = of_any_size(), np.random.default_rng(0)
    for size in ((20, 24), (14, 30)):
        x = rng.normal(size=(2, *size, 3)).astype("float32")
        alone = raw(method, of_any_size(), x, 1, **FOR_SIZES[method])
        close(raw(method, model, x, 1, **FOR_SIZES[method]), alone)


def test_each_size_of_augmented_images_has_masks_of_its_own(x):
    params, sizes = FOR_SIZES["rise"], (SPACE, tuple(n * 3 // 2 for n in SPACE))
    copies = [keras.ops.convert_to_numpy(resize(keras.ops.convert_to_tensor(x), size)) for size in sizes]
    parts = [ke.explain("rise", of_any_size(), copy, 1, verbose=0, resizing=SPACE, **params) for copy in copies]
    augmented = raw(meta.tta(ke.get("rise"), scales=[1.5], hflip=False), of_any_size(), x, 1, **params)
    close(augmented, [np.mean([part[i] for part in parts], axis=0) for i in (0, 1)], 1e-4)


@quick
def test_a_kernel_in_blocks_is_the_kernel(x, monkeypatch):
    whole = raw("hsic", linear, x, repetitions=50, segments=3)
    monkeypatch.setattr(
        module("methods.perturbation.hsic"), "KERNEL_AT_ONCE", 7 * x.shape[0] * 4 * 50
    )  # seven rows, of 50
    close(raw("hsic", linear, x, repetitions=50, segments=3), whole, 1e-5)


def test_superpixels_are_of_one_colour():
    pytest.importorskip("skimage", reason="scikit-image, which finds superpixels, is not installed")
    images = np.zeros((1, *SHAPE), "float32")
    images[:, 4:12, 6:15] = 1
    maps = raw("kernel_shap", lambda x: x.mean(axis=(1, 2, 3))[:, None], images, segments="slic", baseline=0.0).maps[
        0, ..., 0
    ]
    inside = np.zeros(SPACE, bool)
    inside[4:12, 6:15] = True
    assert (maps * inside).sum() > 0.95 * maps.sum()


def test_few_images_are_evaluated_at_once():
    model, calls = counted()
    x = keras_models.images("functional")
    raw("rise", model, x, 1, repetitions=20, at_once=7, run_eagerly=True)
    assert max(calls) == 6 and sum(calls) <= 3 * (20 + 4)  # three images, two copies of each


def test_few_large_images_are_evaluated_at_once_where_that_is_faster():
    """On PyTorch's CPU: of two images, four copies of each."""
    calls, images = [], np.random.default_rng(0).random((2, 224, 224, 3), "float32")

    def model(x):
        calls.append(len(x))
        return x[:, :100].mean((1, 2, 3))[:, None]

    found = raw("rise", model, images, 0, repetitions=20)
    assert max(calls) == (8 if ON_TORCH_CPU else 20)
    close(found, raw("rise", model, images, 0, repetitions=20, at_once=6))
    assert calls[-1] == 6


def test_a_function_of_numpy_arrays_is_explained_as_the_model_that_it_calls(x):
    model = keras_models.build("functional")

    def served(images):
        return keras.ops.convert_to_numpy(model(images, training=False)).astype("float64")

    for method, params in [("rise", {"repetitions": 10}), ("sobol", {"repetitions": 1, "segments": 2})]:
        close(raw(method, served, x, UNITS, **params), raw(method, model, x, UNITS, **params), 1e-4)
    first = ke.BlackBox(lambda images: served(images.transpose(0, 2, 3, 1)), channels_first=True)
    expected = raw("occlusion", model, x, UNITS, patch=10)
    close(raw("occlusion", first, x.transpose(0, 3, 1, 2), UNITS, patch=10), expected, 1e-4)
    smooth = ke.methods.meta.smooth(ke.get("occlusion"), repetitions=2)
    close(raw(smooth, served, x, UNITS, patch=10), raw(smooth, model, x, UNITS, patch=10), 1e-4)


def test_scores_choose_what_is_explained(x):
    whole = raw("occlusion", linear, x, patch=6)
    top = raw("occlusion", linear, x, patch=6, score=ke.scores.top_k(2))
    order = linear(x).argsort(axis=1)[:, ::-1][:, :2]
    close(top, raw("occlusion", linear, x, order, patch=6), 1e-4)
    apart = raw("occlusion", linear, x, patch=6, score=ke.scores.margin(1, 3)).maps
    close([apart], [whole.maps[..., 1:2] - whole.maps[..., 3:4]], 1e-4)


REFUSED = {
    "stride": (("occlusion", {"patch": 3, "stride": 4}), "some pixels would never be covered"),
    "patch": (("occlusion", {"patch": (3, 4, 5)}), r"patch=\(3, 4, 5\): a number, or 2 of them"),
    "zero": (("occlusion", {"patch": 0}), "patch=0"),
    "baseline": (("occlusion", {"baseline": [1.0, 2.0]}), r"A baseline of shape \(2,\)"),
    "a word": (("occlusion", {"baseline": "median"}), "baseline='median'"),
    "no baseline": (("occlusion", {"baseline": None}), "baseline=None: a number"),
    "a ragged baseline": (("occlusion", {"baseline": [[1.0], [1.0, 2.0]]}), "baseline=.*: a number"),
    "baselines": (
        ("occlusion", {"baseline": np.zeros((3, *SHAPE)), "batch_size": 2}),
        "baseline= has 3 rows, .* several batches: give one baseline for all of them, or .* batch_size=3",
    ),
    "baselines that fit a batch": (("occlusion", {"baseline": np.zeros((2, *SHAPE)), "batch_size": 2}), "has 2 rows"),
    "labels that fit a batch": (
        ("lime", {"segments": np.zeros((2, *SPACE), int), "batch_size": 2}),
        "segments= has 2 rows",
    ),
    "baselines that fit no batch": (
        ("occlusion", {"baseline": np.zeros((2, *SHAPE))}),
        "in a batch of 3: give one baseline for all of them, or .* batch_size=2",
    ),
    "at once": (("occlusion", {"at_once": 0}), "at_once=0"),
    "a part at once": (("occlusion", {"at_once": 2.5}), "at_once=2.5: a whole number"),
    "words at once": (("rise", {"at_once": "x"}), "at_once='x'"),
    "probability": (("rise", {"p": 1.0}), "p=1.0"),
    "a word of probability": (("rise", {"p": "half"}), "p='half'"),
    "repetitions": (("lime", {"repetitions": 0}), "repetitions=0"),
    "half repetitions": (("sobol", {"repetitions": 2.0}), "repetitions=2.0: a whole number"),
    "no whole seed": (("rise", {"seed": 1.5}), "seed=1.5: a whole number"),
    "a word as a seed": (("hsic", {"seed": "x"}), "seed='x'"),
    "width": (("lime", {"width": 0.0}), "positive width"),
    "ridge": (("lime", {"ridge": float("nan")}), "ridge=nan: a number, 0 or more"),
    "segments": (("sobol", {"segments": "quickshift"}), "segments='quickshift'"),
    "labels": (("hsic", {"segments": np.zeros(SPACE)}), "integer labels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, x):
    (method, params), message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        raw(method, linear, x, 1, **params)


def test_captum_says_the_same(x):
    attr = pytest.importorskip("captum.attr", reason="Captum, to compare with, is not installed")
    if BACKEND != "torch":
        pytest.skip("Captum is PyTorch's")
    import torch

    model = keras_models.build("channels_first")
    images = torch.from_numpy(keras_models.images("channels_first"))
    units = torch.tensor([1, 4, 2])

    def forward(images):
        return model(images, training=False)

    with torch.no_grad():
        theirs = attr.Occlusion(forward).attribute(images, (3, 6, 5), (3, 4, 3), target=units, baselines=0.25)
        ours = raw("occlusion", model, images, units.numpy(), patch=(6, 5), stride=(4, 3), baseline=0.25)
        close([ours.maps[..., 0]], [theirs[:, 0].numpy()], 1e-4)
        labels = torch.from_numpy(grid_segments(SPACE, (2, 2))[0]).long()
        theirs = attr.ShapleyValues(forward).attribute(images, target=units, feature_mask=labels, baselines=0.25)
        ours = raw("kernel_shap", model, images, units.numpy(), segments=2, baseline=0.25)
        close([ours.maps[..., 0]], [theirs[:, 0].numpy()], 1e-4)


@pytest.mark.peers
def test_captum_s_regressions_say_the_same():
    attr = pytest.importorskip("captum.attr", reason="Captum, to compare with, is not installed")
    pytest.importorskip(
        "sklearn", reason="scikit-learn, which Captum's regressions need, is not installed: make test-peers"
    )
    if BACKEND != "torch":
        pytest.skip("Captum is PyTorch's")
    import torch
    from captum._utils.models.linear_model import SkLearnRidge

    model, x = keras_models.build("channels_first"), torch.from_numpy(keras_models.images("channels_first")[:1])
    labels = torch.from_numpy(grid_segments(SPACE, (2, 3))[0]).long()

    def forward(images):
        with torch.no_grad():
            return model(images, training=False)

    torch.manual_seed(0)
    drawn = attr.KernelShap(forward).attribute(x, target=1, feature_mask=labels, n_samples=2000)
    exact = raw("kernel_shap", model, x, 1, segments=(2, 3), baseline=0.0).maps[..., 0]
    np.testing.assert_allclose(drawn[:, 0].numpy(), exact, atol=0.03 * abs(exact).max())  # theirs is drawn
    # Their Lime draws z on its own, and measures distances on pixels: both are told ours.
    z = lime_rows(60, 6, SEED)
    rows = iter(torch.from_numpy(z).float())
    lime = attr.LimeBase(
        forward,
        SkLearnRidge(alpha=0.5),
        lambda *args, **kwargs: torch.tensor(np.exp(-((1 - np.sqrt(float(args[2].mean()))) ** 2) / (2 * 0.25**2))),
        lambda *args, **kwargs: next(rows)[None],
        True,
        lambda z, original, **kwargs: original * z[0][labels],
        None,
    )
    weights = lime.attribute(x, target=1, n_samples=60, show_progress=False)[0].numpy()
    ours = raw("lime", model, x, 1, segments=(2, 3), repetitions=60, ridge=0.5, baseline=0.0, seed=SEED).maps[0, ..., 0]
    np.testing.assert_allclose(ours, weights[labels.numpy()], atol=1e-4 * abs(weights).max())


def test_kernel_shap_warns_where_it_is_hardly_determined(recwarn):
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
    model = ke.BlackBox(lambda images: images.mean((1, 2, 3))[:, None])
    for cells, repetitions, warned in ((4, 63, True), (4, 64, False), (2, 14, False)):  # 16, 16, and all of 4
        raw("kernel_shap", model, x, 0, segments=cells, repetitions=repetitions)
        told = [w for w in recwarn if "hardly determined, worst near 32: give repetitions=64" in str(w.message)]
        assert bool(told) == warned
        recwarn.clear()
