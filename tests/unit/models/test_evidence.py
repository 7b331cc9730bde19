"""Which layer a class activation map is of: one whose signal shows the image, and whose places reach the score."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.errors import LayerError
from keras_explainable.models import evidence, orders
from keras_explainable.models.signal_layout import Reading
from support import keras_models
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, slow_compiled

pytestmark = slow_compiled

torch_only = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
IMAGES = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")


@pytest.mark.parametrize("seed", range(3))
def test_the_area_is_the_share_of_pairs_in_which_the_cell_inside_changes_more(seed):
    rng = np.random.default_rng(seed)
    changes, cells = rng.uniform(size=(3, 20)), rng.uniform(size=(3, 20)) > 0.6
    pairs = [
        np.mean([a > b for a, b in itertools.product(row[inside], row[~inside])])
        for row, inside in zip(changes, cells, strict=True)
    ]
    assert evidence.area(changes, cells) == pytest.approx(np.mean(pairs))
    assert evidence.area(cells.astype(float), cells) == 1 and evidence.area(-1.0 * cells + 2, cells) == 0


def test_blocks_without_cells_or_changes_do_not_count():
    cells = np.array([[True, False], [False, False], [True, False]])
    assert evidence.area(np.array([[2.0, 1], [0, 9], [0, 0]]), cells) == 1
    assert np.isnan(evidence.area(np.zeros((3, 2)), cells))


@pytest.mark.parametrize("windows", [(), ((0.5, 1.0), None)])
def test_cells_belong_to_the_block_that_their_centre_is_in(windows):
    found = evidence.inside((8, 4), 2, windows)
    for block, cells in zip(evidence.blocks(2), found, strict=True):
        for (row, column), belongs in np.ndenumerate(cells.reshape(8, 4)):
            centre = (0.5 + (row + 0.5) / 16 if windows else (row + 0.5) / 8), (column + 0.5) / 4
            assert belongs == (tuple(int(4 * c) for c in centre) == block)


@pytest.mark.parametrize("order", [(), (2, 0, 1, 5, 4, 3)])
def test_tokens_are_read_as_a_grid_and_put_back(order):
    reading, value = Reading(grid=(2, 3), prefix=1, order=order), np.arange(2 * 9 * 4.0).reshape(2, 9, 4)
    cells = ops.convert_to_numpy(reading.channels_last(ops.convert_to_tensor(value)))
    np.testing.assert_array_equal(cells, value[:, 1:7][:, list(order) or slice(None)].reshape(2, 2, 3, 4))
    back = reading.restored(ops.convert_to_tensor(-cells), ops.convert_to_tensor(value))
    np.testing.assert_array_equal(ops.convert_to_numpy(back)[:, 1:7], -value[:, 1:7])
    np.testing.assert_array_equal(ops.convert_to_numpy(back)[:, [0, 7, 8]], value[:, [0, 7, 8]])


def patches(name="patches"):
    """An input, and its 4 x 4 patches of 4 x 4 pixels as tokens with a nonlinear part."""
    image = keras.Input((16, 16, 3))
    tokens = L.Reshape((16, 12))(L.Conv2D(12, 4, strides=4)(image))
    mixed = L.Add(name=name)([tokens, L.Dense(12, activation="gelu")(L.LayerNormalization()(tokens))])
    return image, mixed


def gradcam(model, signal, unit, grid):
    """Grad-CAM of tokens by hand: the head is linear in them, or is differentiated numerically by its own weights."""
    a = ops.convert_to_numpy(keras.Model(model.inputs, signal)(IMAGES))
    kernel = ops.convert_to_numpy(model.layers[-1].kernel)[:, unit] / a.shape[1]
    return (a @ kernel).reshape(-1, *grid)[..., None]


def test_heads_of_attention_are_not_taken_for_an_image():
    """As external attention has them: (B, tokens, heads, width), which has the rank of an image."""
    image, x = patches()
    heads = L.Permute((2, 1, 3), name="heads")(L.Reshape((16, 2, 12))(L.Dense(24)(x)))
    attended = L.Dense(12)(L.Reshape((16, 24))(L.Permute((2, 1, 3))(L.Softmax(axis=2)(heads))))
    last = L.Add(name="last")([attended, x])
    model = keras_models.randomize(keras.Model(image, L.Dense(4, name="logits")(L.GlobalAveragePooling1D()(last))))
    found = raw("gradcam", model, IMAGES, 1)
    assert found.about["signal"] == "last" and found.about["reading"] == "4 x 4 tokens"
    assert found.about["evidence"] > 0.9
    close([found.maps], [gradcam(model, last, 1, (4, 4))], 1e-4)


def test_what_forgets_the_places_is_passed_over():
    """Behind a dense layer over all places stand maps that show nothing of the image."""
    image = keras.Input((16, 16, 3))
    seen = L.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="seen")(image)
    mixed = L.Reshape((8, 8, 4))(L.Dense(256, activation="relu")(L.Flatten()(seen)))
    lost = L.Conv2D(5, 3, padding="same", activation="relu", name="lost")(mixed)
    model = keras_models.randomize(keras.Model(image, L.Dense(4)(L.GlobalAveragePooling2D()(lost))))
    assert raw("gradcam", model, IMAGES, 1).about["signal"] == "seen"
    with pytest.warns(UserWarning, match=r"layer \(lost\) hardly shows the image.*0\.[345]"):
        assert raw("gradcam", model, IMAGES, 1, layer="lost").about["evidence"] < evidence.POOR


def test_without_any_layer_that_shows_the_image_the_best_are_named():
    image = keras.Input((16, 16, 3))
    mixed = L.Reshape((8, 8, 4))(L.Dense(256, activation="relu")(L.Flatten()(image)))
    maps = L.Conv2D(5, 3, padding="same", activation="relu", name="lost")(mixed)
    model = keras_models.randomize(keras.Model(image, L.Dense(4)(L.GlobalAveragePooling2D()(maps))))
    with pytest.raises(LayerError, match=r"found to show the image.*where 0\.8.*: 0\.\d\d as channels last.*layer="):
        ke.gradcam(model, IMAGES, 1, verbose=0)
    close(raw("gradients", model, IMAGES, 1), raw("gradients", model, IMAGES, 1))


def test_the_layers_are_listed_with_what_they_show():
    image, x = patches()
    aside = L.Dense(3, name="aside")(x)
    model = keras.Model(image, [L.Dense(4, name="logits")(L.GlobalAveragePooling1D()(x)), aside])
    found = {s.path: s for s in ke.inspection.signals(keras_models.randomize(model))}
    assert str(found["patches"].reading) == "4 x 4 tokens" and found["patches"].evidence > 0.95
    assert found["patches"].reaches and found["aside"].evidence > 0.9 and found["aside"].reaches is False
    assert found["logits"].reading is None and found["logits"].evidence is None


class Counted(keras.Model):
    """A model of tokens that counts the images that go through it."""

    def __init__(self):
        super().__init__()
        self.tokens, self.head = L.Conv2D(8, 4, strides=4), L.Dense(3)
        self.seen = []

    def call(self, x):
        self.seen.append(x.shape[0])
        return self.head(ops.mean(ops.reshape(self.tokens(x), (-1, 16, 8)), axis=1))


def test_it_takes_ten_images_the_first_time_and_none_afterwards():
    model = Counted()
    model(IMAGES)
    keras_models.randomize(model)
    run = {"run_eagerly": True, "verbose": 0}
    ke.gradients(model, IMAGES, 1, **run)  # which looks at the model, but not at its layers
    model.seen.clear()
    ke.gradcam(model, IMAGES, 1, **run)
    first, _ = sum(filter(None, model.seen)), model.seen.clear()
    ke.gradcam(model, IMAGES, 1, **run)
    later, _ = sum(filter(None, model.seen)), model.seen.clear()
    assert first - later <= 10 + 2 * len(IMAGES), (first, later)  # traces see images of zeros
    ke.gradcam(model, IMAGES, 2, **run)
    assert sum(filter(None, model.seen)) == later


def siamese():
    import torch
    from torch import nn

    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
            self.fc = nn.Linear(12, 6)

        def forward(self, a, b):
            one, two = (nn.functional.normalize(self.fc(self.body(x).mean((2, 3))), dim=1) for x in (a, b))
            return (one * two).sum(1)

    return Siamese().eval()


@torch_only
@pytest.mark.parametrize("leaf", [0, 1])
@pytest.mark.parametrize("layer", [None, "body.2"])
def test_of_a_shared_layer_the_call_of_the_explained_image_counts(leaf, layer):
    import torch

    module, pair = siamese(), tuple(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2) + i) for i in range(2))
    kept = []
    handle = module.body[2 if layer else 3].register_forward_hook(lambda m, i, o: kept.append(o))
    score = module(*pair).sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[leaf])
    expected = (kept[leaf] * gradient.mean((2, 3), keepdim=True)).sum(1).detach().numpy()[..., None]
    found = raw("gradcam", module, pair, 0, leaf=leaf, **({} if layer is None else {"layer": layer}))
    close([found.maps], [expected], 1e-4)


def build(kind):
    """A module, and the layer whose Grad-CAM, read as (B, C, h, w), is expected of it."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)

        def forward(self, x):
            return x + self.fc(self.norm(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block, self.head = nn.Conv2d(3, 12, 4, 4), Block(12), nn.Linear(12, 5)
            self.after, self.aux = Block(12), nn.Conv2d(12, 5, 1)
            self.first = nn.Parameter(torch.randn(1, 1, 12))
            self.others = nn.Parameter(torch.randn(1, 8, 12))
            self.query = nn.MultiheadAttention(12, 2, batch_first=True)

        def forward(self, x):
            x = self.stem(x)
            if kind == "channels last":
                return self.head(self.block(x.permute(0, 2, 3, 1)).mean((1, 2)))
            if kind == "auxiliary head":
                return self.head(x.mean((2, 3))), self.aux(x)
            tokens = x.flatten(2).transpose(1, 2)
            n = len(tokens)
            if kind == "tokens behind and before others":
                tokens = torch.cat([self.first.expand(n, -1, -1), tokens, self.others.expand(n, -1, -1)], 1)
                tokens = self.block(tokens)
                return self.head(tokens[:, 17:].mean(1) + tokens[:, 1:17].amax(1))
            if kind == "queries":
                seen = self.query(self.others.expand(n, -1, -1).repeat(1, 2, 1), tokens, tokens)[0]
                return self.head(self.after(seen).mean(1))
            tokens = self.block(torch.cat([self.first.expand(n, -1, -1), tokens], 1))  # class token
            tokens = tokens + self.query(tokens, tokens, tokens)[0]
            return self.head(self.after(tokens)[:, 0])

    torch.manual_seed(1)
    return Net().eval()


KINDS = {
    "channels last": ("block", lambda a: a.permute(0, 3, 1, 2)),
    "auxiliary head": ("stem", lambda a: a),
    "tokens behind and before others": ("block", lambda a: a[:, 1:17].transpose(1, 2).unflatten(2, (4, 4))),
    "queries": ("stem", lambda a: a),
    "class token": ("block.norm", lambda a: a[:, 1:].transpose(1, 2).unflatten(2, (4, 4))),
}


@torch_only
@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_is_one_whose_places_are_those_of_the_image(kind):
    import torch

    module, x, kept = build(kind), torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy()), []
    path, read = KINDS[kind]
    handle = module.get_submodule(path).register_forward_hook(lambda m, i, o: kept.append(o))
    scores = module(x)
    handle.remove()
    (gradient,) = torch.autograd.grad((scores[0] if isinstance(scores, tuple) else scores)[:, 1].sum(), kept[0])
    a, g = read(kept[0].detach()), read(gradient)
    found = raw("gradcam", module, x, 1)
    assert found.about["signal"] == path
    close([found.maps], [(a * g.mean((2, 3), keepdim=True)).sum(1).numpy()[..., None]], 1e-4)


@torch_only
def test_scores_of_places_are_no_features():
    """Before the upsampling of a segmentation stand its scores already: the layer before them is taken."""
    import torch
    from torch import nn

    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
            self.classes = nn.Conv2d(8, 4, 1)

        def forward(self, x):
            return {"out": nn.functional.interpolate(self.classes(self.body(x)), scale_factor=2, mode="bilinear")}

    mask = np.zeros((16, 16), "float32")
    mask[4:9, 2:11] = 1
    score = ke.scores.output("out", ke.scores.region(mask, 2, axis=1))
    assert raw("gradcam", Dense().eval(), IMAGES.transpose(0, 3, 1, 2), score=score).about["signal"] == "body.1"


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (2, 3, 4)])
def test_the_order_of_tokens_is_read_from_binary_digits(grid):
    rng, count = np.random.default_rng(0), int(np.prod(grid))
    order = rng.permutation(count)  # place p is token order[p]
    changes = orders.ones(grid, grid).reshape(-1, count)[:, np.argsort(order)] + rng.uniform(0, 0.9, size=count)
    assert orders.decoded(changes, grid) == tuple(order.tolist())
    assert orders.decoded(rng.uniform(size=changes.shape), grid) is None


def test_tokens_in_an_order_of_their_own_are_put_back():
    """As Hiera has them: mask unit by mask unit."""
    image = keras.Input((16, 16, 3))
    seen = L.Conv2D(12, 2, strides=2, name="stem")(image)
    units = L.Permute((1, 3, 2, 4, 5))(L.Reshape((4, 2, 4, 2, 12))(seen))
    tokens = L.Reshape((64, 12))(units)
    mixed = L.Add(name="mixed")([tokens, L.Dense(12, activation="gelu")(tokens)])
    model = keras_models.randomize(keras.Model(image, L.Dense(4, name="logits")(L.GlobalAveragePooling1D()(mixed))))
    found = raw("gradcam", model, IMAGES, 1, layer="mixed")
    a = ops.convert_to_numpy(keras.Model(image, mixed)(IMAGES))
    expected = (a @ ops.convert_to_numpy(model.layers[-1].kernel)[:, 1] / 64).reshape(2, 4, 4, 2, 2)
    close([found.maps], [expected.transpose(0, 1, 3, 2, 4).reshape(2, 8, 8, 1)], 1e-4)
    assert found.about["signal"] == "mixed" and found.about["reading"] == "8 x 8 tokens, in an order of their own"
