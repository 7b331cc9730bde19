"""A model that was explained before, and then runs otherwise, is explained as it is now: by whatever it was changed."""

import copy

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.models import adapter
from keras_explainable.models.keras.routing import routed
from keras_explainable.models.state import same_object
from support import keras_models
from support.calls import few, raw
from support.compare import close
from support.selection import BACKEND, slow_compiled

pytestmark = slow_compiled

X = keras_models.images("functional", 2)
METHODS = ["gradcam", "gradients", "full_gradients", "lrp_epsilon", "deeplift", "guided_backprop"]
torch_only = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
SWITCHES = {"deep": False}


class Flagged(keras.Model):
    """A second convolution where a flag is set."""

    def __init__(self):
        super().__init__()
        self.deep, self.ran = False, 0
        self.one, self.two = (L.Conv2D(6, 3, padding="same", activation="relu") for _ in range(2))
        self.pool, self.head = L.GlobalAveragePooling2D(), L.Dense(4)

    def call(self, x):
        self.ran += 1
        x = self.one(x)
        x = self.two(x) if self.deep else x
        return self.head(self.pool(x))


def flagged():
    model = Flagged()
    model.deep = True
    model(X)
    return keras_models.randomize(model)


@pytest.mark.parametrize("method", METHODS[:4])
def test_a_flag_of_a_subclassed_model_is_seen(method):
    model, fresh = flagged(), flagged()
    deep = raw(method, model, X, 1, **few(method))
    model.deep = fresh.deep = False
    shallow = raw(method, model, X, 1, **few(method))
    close(shallow, raw(method, fresh, X, 1, **few(method)))
    assert abs(shallow.scores - deep.scores).max() > 1e-3
    close([shallow.scores], [ops.convert_to_numpy(model(X))[:, 1:2]])


def test_what_another_threads_run_changes_is_no_setting():
    model = keras_models.build("subclassed")
    before = adapter(model).structure()
    layers = [model, *model.layers]
    with routed(layers):
        assert adapter(model).structure() == before
        assert hash(adapter(model).structure()) == hash(before)
    assert adapter(model).structure() == before


def test_what_is_kept_of_a_function_is_a_key_when_it_is_gone():
    kept = same_object(lambda: None)
    assert kept() is None
    assert {kept: 1}[kept] == 1


def test_what_a_run_counts_does_not_compile_anew():
    model = flagged()
    raw("gradients", model, X, 1)
    raw("gradients", model, X, 1)
    before = ke.cache_info().misses
    raw("gradients", model, X, 1)
    assert ke.cache_info().misses == before and model.ran > 1


def module(kind="plain"):
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Settings:
        deep = False

    class Net(nn.Module):
        deep, end = False, False

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.c1, self.c2, self.c3 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3)
            self.fc, self.settings, self.parts = nn.Linear(6, 3), Settings(), {"deep": False}
            self.settings.deep = False

        def is_deep(self):
            return self.deep or self.settings.deep or self.parts["deep"] or SWITCHES["deep"]

        def forward(self, x):
            x = F.relu(self.c2(F.relu(self.c1(x))))
            x = F.relu(self.c3(x)) if self.is_deep() else x
            z = self.fc(x.mean((2, 3)))
            return z + z if self.end else z

    return Net().eval()


def double(module, args, output):
    return 2 * output


def by_flag(net):
    net.deep = True


def by_end(net):
    net.end = True


def by_settings(net):
    net.settings.deep = True


def by_container(net):
    net.parts["deep"] = True


def by_hook(net):
    net.c2.register_forward_hook(double)


def by_replacement(net):
    import torch

    torch.manual_seed(1)
    net.c2 = torch.nn.Conv2d(6, 6, 5, padding=2)


def by_class(net):
    type(net).deep = True


def by_forward(net):
    plain = net.forward
    net.forward = lambda x: 3 * plain(x)


def by_global(net):
    SWITCHES["deep"] = True


CHANGES = [by_flag, by_end, by_settings, by_container, by_hook, by_replacement, by_class, by_forward, by_global]


def torch_images():
    import torch

    return torch.from_numpy(np.moveaxis(X, -1, 1).copy())


@torch_only
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("method", METHODS)
def test_a_module_is_explained_as_it_is_now(method, change):
    x = torch_images()
    try:
        before, now = module(), module()
        old = raw(method, before, x, 1, **few(method))
        for net in (before, now):
            change(net)
        ours, theirs = (raw(method, net, x, 1, **few(method)) for net in (before, now))
        close(ours, theirs)
        assert ours.about.get("signal") == theirs.about.get("signal")
        assert abs(ours.scores - old.scores).max() > 1e-3
    finally:
        SWITCHES["deep"] = False


@torch_only
@pytest.mark.parametrize("method", METHODS)
def test_a_copy_is_no_stale_model(method):
    x, net = torch_images(), module()
    raw(method, net, x, 1, **few(method))
    other = copy.deepcopy(net)
    other.deep = True
    fresh = module()
    fresh.deep = True
    close(raw(method, other, x, 1, **few(method)), raw(method, fresh, x, 1, **few(method)))


@torch_only
def test_what_the_images_decide_is_refused_by_what_needs_to_know_it_and_else_explained():
    import torch
    from torch import nn

    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.bright, self.dark = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
            self.last, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 3)

        def forward(self, x):
            x = self.bright(self.stem(x)) if x.sum() > 0 else self.dark(self.stem(x))
            return self.fc(self.last(x.relu()).relu().mean((2, 3)))

    class Bright(Experts):
        def forward(self, x):
            return self.fc(self.last(self.bright(self.stem(x)).relu()).relu().mean((2, 3)))

    x = torch_images().abs()
    for method in ("gradcam", "gradients", "integrated_gradients"):
        close(raw(method, Experts().eval(), x, 1), raw(method, Bright().eval(), x, 1))
    for method in ("full_gradients", "lrp_epsilon", "deeplift"):
        with pytest.raises(ke.errors.LayerError, match="depends on the images.*'bright'"):
            raw(method, Experts().eval(), x, 1)


@torch_only
def test_a_module_that_goes_through_the_images_one_by_one_is_asked_to():
    import torch

    class Each(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = module()

        def forward(self, x):
            return torch.cat([self.net(x[i : i + 1]) for i in range(len(x))])

    x = torch_images()
    with pytest.raises(ke.errors.LayerError, match="batch_size=1"):
        raw("gradcam", Each().eval(), x, 1)
    close(raw("gradcam", Each().eval(), x, 1, batch_size=1), raw("gradcam", module(), x, 1))
