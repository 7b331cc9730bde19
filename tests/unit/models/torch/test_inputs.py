"""Modules of several inputs: explained as the same module with all but the images a part of it."""

import copy

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)

import torch
from torch import nn

import keras_explainable as ke
from keras_explainable.errors import InputError
from support import torch_models
from support.calls import few, raw, subject
from support.compare import close
from support.selection import every_method

pytestmark = pytest.mark.filterwarnings("ignore:.*the same everywhere")
N = 3
Y = np.array([[1, 4], [0, 2], [3, 3]])
KNOWN = [n for n, r in ke.registry.METHODS.items() if r.needs & {ke.registry.Need.KNOWN_LAYERS, ke.registry.Need.RELUS}]
PLAIN = [n for n in ke.registry.METHODS if n not in [*KNOWN, "cam"] and subject(n) == "functional"]


def given(n=N):
    rng = np.random.default_rng(0)
    return torch_models.images(n), rng.permutation(10)[:n], rng.uniform(1, 2, (n, 1))


class Gated(nn.Module):
    """An embedded integer multiplies the channels of a signal; a number is added to the scores, in place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3), nn.ReLU()
        self.embed, self.older = nn.Embedding(10, 8), nn.Linear(1, torch_models.UNITS)
        self.head = nn.Linear(8, torch_models.UNITS)

    def forward(self, image, kind, age):
        gate = self.embed(kind)[:, :, None, None]
        x = self.relu(self.conv2(self.relu(self.conv1(image)) * gate))
        return self.head(x.mean((2, 3))) + self.older(age.mul_(2))


class Added(nn.Module):
    """Features of the others are added to those of the image; without any, biases of layers without weights."""

    def __init__(self, alone=False):
        super().__init__()
        self.conv, self.relu, self.pool = nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.flat, self.mix, self.head = nn.Flatten(), nn.Linear(8, 8), nn.Linear(8, torch_models.UNITS)
        self.embed = nn.Linear(8, 8) if alone else nn.Embedding(10, 8)
        self.older = nn.Linear(8 if alone else 1, 8)

    def forward(self, image, kind=None, age=None):
        x = self.flat(self.pool(self.relu(self.conv(image))))
        embedded, older = self.embed(x if kind is None else kind), self.older(x if age is None else age)
        return self.head(self.relu(embedded + self.mix(x) + older))


class Baked(nn.Module):
    def __init__(self, module, kind, age):
        super().__init__()
        self.module, self.kind, self.age = module, int(kind), float(age)

    def forward(self, image):
        n = len(image)
        return self.module(image, torch.full((n,), self.kind), torch.full((n, 1), self.age))


def one_by_one(method, module, x, **params):
    each = [Baked(module, kind, age[0]) for kind, age in zip(*x[1:], strict=True)]
    found = [raw(method, one, x[0][i : i + 1], Y[i : i + 1], **params) for i, one in enumerate(each)]
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def state(module):
    flags = [(m.training, m._forward_hooks, m._forward_pre_hooks) for m in module.modules()]
    grads = [(p.grad, p.requires_grad) for p in module.parameters()]
    return flags, grads, {name: value.clone() for name, value in module.state_dict().items()}


def unchanged(before, module):
    after = state(module)
    assert before[:2] == after[:2]
    assert all(torch.equal(value, after[2][name]) for name, value in before[2].items())


@pytest.mark.parametrize("method", every_method(PLAIN))
def test_equals_the_module_with_the_others_built_in(method):
    module, x = torch_models.drawn(Gated()).train(), given()
    before, own = state(module), copy.deepcopy(x)
    ours = raw(method, module, x, Y, leaf=0, **few(method))
    unchanged(before, module)
    close(x, own, 0)  # the module works in place on what it gets
    close(ours, one_by_one(method, module, x, **few(method)), 1e-4)
    close(raw(method, module, x, Y, leaf=0, batch_size=2, **few(method)), ours, 1e-4)


@pytest.mark.parametrize("method", every_method(KNOWN))
def test_what_goes_back_layer_by_layer_ends_where_the_others_come_in(method):
    module, x = torch_models.drawn(Added()), given()
    ours = raw(method, module, x, Y, leaf=0, **few(method))
    for i in range(N):
        twin = Added(alone=True).eval()
        values = {"embed": module.embed.weight[x[1][i]]}
        values["older"] = module.older(torch.tensor(x[2][i : i + 1], dtype=torch.float32))[0]
        weights = {k: v for k, v in module.state_dict().items() if k.split(".")[0] not in values}
        twin.load_state_dict(weights, strict=False)
        with torch.no_grad():
            for name, value in values.items():
                twin.get_submodule(name).weight.zero_()
                twin.get_submodule(name).bias.copy_(value)
        theirs = raw(method, twin, x[0][i : i + 1], Y[i : i + 1], **few(method))
        close([v[i : i + 1] for v in ours], theirs, 1e-4)


class OfDictionary(Gated):
    def forward(self, inputs):
        return super().forward(inputs["image"], inputs["kind"], inputs["age"])


class OfList(Gated):
    def forward(self, inputs, more=None):
        assert isinstance(inputs, list)
        assert more is None
        return super().forward(*inputs)


class OfTuple(Gated):
    def forward(self, inputs):
        assert isinstance(inputs, tuple)
        return super().forward(*inputs)


def test_every_form_in_which_a_module_takes_its_inputs():
    x = given()
    named = dict(zip(("image", "kind", "age"), x, strict=True))
    expected = raw("gradcam", torch_models.drawn(Gated()), x, Y, leaf=0)
    close(raw("gradcam", torch_models.drawn(Gated()), named, Y, leaf="image"), expected)
    close(raw("gradcam", torch_models.drawn(OfDictionary()), named, Y, leaf="image"), expected)
    close(raw("gradcam", torch_models.drawn(OfList()), list(x), Y, leaf=0), expected)
    close(raw("gradcam", torch_models.drawn(OfTuple()), x, Y, leaf=0), expected)
    tensors = tuple(map(torch.as_tensor, x))
    close(raw("gradcam", torch.nn.DataParallel(torch_models.drawn(Gated())), tensors, Y, leaf=0), expected)
    module = torch_models.drawn(Gated())
    with torch.inference_mode():
        close(raw("gradcam", module, tuple(t.clone() for t in tensors), Y, leaf=0), expected)
    loader = torch.utils.data.DataLoader([(tuple(v[i] for v in x), Y[i]) for i in range(N)], batch_size=2)
    close(raw("gradcam", torch_models.drawn(Gated()), loader, leaf=0), expected)


def test_the_gradient_of_a_product(rng):
    class Product(nn.Module):
        def forward(self, image, weights):
            return (image[:, None] * weights).sum((2, 3, 4))

    x, w = torch_models.images(N), rng.normal(size=(N, 5, 3, *torch_models.SIZE)).astype("float32")
    scores, maps = raw("gradients", Product(), (x, w), Y, leaf=0, reduce=None)
    chosen = np.take_along_axis(w, Y[:, :, None, None, None], 1)
    close([maps, scores], [np.moveaxis(chosen, 2, -1), (x[:, None] * chosen).sum((2, 3, 4))], 1e-5)


def test_other_inputs_are_of_the_modules_type():
    module, x = torch_models.drawn(Gated()), given()
    close(raw("gradients", copy.deepcopy(module).double(), x, Y, leaf=0), raw("gradients", module, x, Y, leaf=0), 1e-4)


def test_images_alone_are_refused():
    with pytest.raises(InputError, match=r"takes 3 inputs \(image, kind, age\), and images alone came: pass all"):
        raw("gradcam", Gated(), given()[0], 1)
    with pytest.raises(InputError, match="leaf=3 came, and x has no such leaf: use 0 or 1 or 2"):
        raw("gradcam", Gated(), given(), 1, leaf=3)


def test_texts_are_shared_by_all_images():
    """A model of images and texts, which scores each image by each text."""
    import torch
    from torch import nn

    class Clip(nn.Module):
        def __init__(self, texts=None):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.words = nn.Conv2d(3, 8, 3), nn.Embedding(20, 8)
            self.texts = texts

        def forward(self, image, texts=None):
            texts = self.texts if texts is None else texts
            image = self.conv(image).relu().mean((2, 3))
            return image @ self.words(texts).mean(1).T

    texts = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9], [2, 4, 6], [1, 1, 1]])
    x = torch.from_numpy(np.random.default_rng(0).random((3, 3, 12, 14)).astype("float32"))
    inputs = {"image": x, "texts": texts}
    for method in ("gradcam", "gradients", "occlusion", "smoothgrad", "full_gradients"):
        ours = raw(method, Clip().eval(), inputs, [4, 0, 2], leaf="image", shared="texts", batch_size=2, **few(method))
        close(ours, raw(method, Clip(texts).eval(), x, [4, 0, 2], batch_size=2, **few(method)), 1e-5)
    with pytest.raises(InputError, match="a row for each image, or say shared='texts'"):
        raw("gradients", Clip().eval(), inputs, 1, leaf="image")
    with pytest.raises(InputError, match="shared='words' came, and x has no such leaf: use 'image' or 'texts'"):
        raw("gradients", Clip().eval(), inputs, 1, leaf="image", shared="words")
