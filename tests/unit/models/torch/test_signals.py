"""Which signal of a module is explained where there are several that look alike: windows, tables, losses."""

import copy

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)
import torch
from torch import nn

import keras_explainable as ke
from keras_explainable.errors import InputError, LayerError
from support import torch_models as nets
from support.calls import raw
from support.compare import close

UNITS = [1, 3]
X = nets.images(2, (24, 24))
SIDE, WINDOW, WIDTH = 6, 3, 8  # patches along the image and along a window, channels
INDEX = torch.arange(WINDOW**4).reshape(WINDOW**2, WINDOW**2) % 7  # made outside of the module's run


class Table(nn.Module):
    """What attention between two places of a window gets besides: no tensor comes in."""

    def __init__(self, kept):
        super().__init__()
        self.entries = nn.Parameter(torch.zeros(7, 2))
        self.register_buffer("index", INDEX.clone() if kept else None)

    def forward(self):
        index = INDEX if self.index is None else self.index
        return self.entries[index.view(-1)].view(*INDEX.shape, 2).permute(2, 0, 1)[None]


class Windowed(nn.Module):
    """Attention within windows of 3 x 3 patches, then the mean over patches, as Swin has them."""

    def __init__(self, kept=False):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.inside, self.norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.table, self.head = nn.Linear(WIDTH, 3 * WIDTH), Table(kept), nn.Linear(WIDTH, 5)

    def forward(self, x):
        parts = SIDE // WINDOW
        x = self.patches(x).movedim(1, -1).reshape(-1, parts, WINDOW, parts, WINDOW, WIDTH)
        windows = self.inside(x.transpose(2, 3).reshape(-1, WINDOW**2, WIDTH))
        q, k, v = self.qkv(windows).reshape(-1, WINDOW**2, 3, 2, WIDTH // 2).permute(2, 0, 3, 1, 4)
        mixed = torch.softmax(q @ k.transpose(-2, -1) + self.table(), dim=-1) @ v
        mixed = windows + mixed.transpose(1, 2).reshape(-1, WINDOW**2, WIDTH)
        tokens = mixed.reshape(-1, parts, parts, WINDOW, WINDOW, WIDTH).transpose(2, 3).reshape(-1, SIDE**2, WIDTH)
        return self.head(self.norm(tokens).mean(1))


def test_of_windows_and_tables_the_last_tokens_of_the_image_are_explained():
    module, seen = nets.drawn(Windowed()), []
    handle = module.norm.register_forward_hook(lambda m, i, output: seen.append(output))
    scores = module(torch.from_numpy(X))
    handle.remove()
    (g,) = torch.autograd.grad(scores[range(2), UNITS].sum(), seen)
    maps = (seen[0] * g.mean(1, keepdim=True)).sum(-1).reshape(2, SIDE, SIDE, 1)
    explained = raw("gradcam", module, X, UNITS)
    assert explained.about["signal"] == "norm" and np.ptp(explained.maps) > 0
    close(explained, [scores[range(2), UNITS][:, None].detach().numpy(), maps.detach().numpy()], 1e-4)


@pytest.mark.parametrize(("layer", "shape"), [("table", r"\(1, 2, 9, 9\)"), ("inside", r"\(4, 9, 8\)")])
def test_a_signal_that_is_not_one_of_each_image_is_refused(layer, shape):
    with pytest.raises(LayerError, match=f"The signal of {layer} has shape {shape} for 1 image, and .* Such signals: "):
        raw("gradcam", nets.drawn(Windowed()), X, UNITS, layer=layer)


def test_numbers_of_rows_made_before_are_no_part_of_the_relevance():
    cached, kept = (nets.drawn(Windowed(kept)) for kept in (False, True))
    kept.load_state_dict(cached.state_dict(), strict=False)
    ours, expected = (raw("attnlrp", module, X, UNITS) for module in (cached, kept))
    assert np.ptp(expected.maps) > 0
    close(ours, expected, 1e-5)


class WithLoss(nets.Plain):
    def forward(self, x):
        scores = super().forward(x)
        return scores.square().sum(), scores


def test_a_loss_before_the_scores_is_passed_over():
    module, x = nets.drawn(nets.Plain("module_in_place")), nets.images()
    together = WithLoss("module_in_place").eval()
    together.load_state_dict(module.state_dict())
    close(raw("gradcam", together, x, 1), raw("gradcam", module, x, 1))


def test_a_module_made_in_inference_mode_is_refused_with_the_way_out():
    with torch.inference_mode():
        module = nets.drawn(nets.Plain("module_in_place"))
    for method in ("gradcam", "gradients"):
        with pytest.raises(InputError, match=r"made under torch.inference_mode.*copy.deepcopy\(module\)"):
            raw(method, module, nets.images(), 1)
    close(
        *(
            raw("gradcam", m, nets.images(), 1)
            for m in (copy.deepcopy(module), nets.drawn(nets.Plain("module_in_place")))
        )
    )


class Detector(nets.Plain):
    """Some boxes, their scores and classes for each image, as torchvision's detectors return them."""

    def forward(self, x):
        scores = super().forward(x)
        box = torch.tensor([[0.0, 0, 4, 4], [2, 2, 8, 8], [0, 0, 8, 8], [1, 1, 3, 3], [5, 5, 9, 9]])
        return [{"boxes": box, "scores": s.sigmoid(), "labels": torch.arange(5) % 3} for s in scores]


def test_of_a_detector_a_box_is_asked_for_and_its_classes_are_labels():
    detector, x = nets.drawn(Detector("module_in_place")), nets.images(2)
    for method in ("gradients", "rise"):
        with pytest.raises(InputError, match=r"shape \(5, 4\) for 2 images.*ke.scores.box\(box, unit\)"):
            raw(method, detector, x, 3)
    score = ke.scores.box([2, 2, 8, 8], 1)
    expected = torch.stack([one["scores"][1] for one in detector(torch.from_numpy(x))]).detach().numpy()
    close(raw("gradients", detector, x, score=score).scores[:, 0], expected, rtol=1e-5)


def test_one_layer_in_a_list_is_that_layer():
    module, x = nets.drawn(nets.Plain("module_in_place")), nets.images(2)
    first, second, *_ = (m for m in module.modules() if isinstance(m, nn.Conv2d))
    close(raw("gradcam", module, x, 1, layer=[second]), raw("gradcam", module, x, 1, layer=second))
    with pytest.raises(LayerError, match=r"2 layers came.*`layercam` fuses several"):
        raw("gradcam", module, x, 1, layer=[first, second])


class Frozen(nn.Module):
    """A batch normalisation that keeps its epsilon to itself, as DETR's does."""

    def __init__(self, like):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, getattr(like, name).detach().clone())

    def forward(self, x):
        scale = (self.weight * (self.running_var + 1e-5).rsqrt())[:, None, None]
        return x * scale + (self.bias[:, None, None] - self.running_mean[:, None, None] * scale)


def test_a_normalisation_of_ones_own_adds_what_it_makes_of_nothing():
    torch.manual_seed(0)
    ours = nets.drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(400, 5)))
    frozen = nn.Sequential(ours[0], Frozen(ours[1]), *ours[2:]).eval()
    x = nets.images(2, (12, 12))
    close(raw("full_gradients", frozen, x, 1), raw("full_gradients", ours, x, 1), 1e-4)


class Shrinking(nn.Module):
    """Attention from many places to few, then among the few."""

    def __init__(self):
        super().__init__()
        self.patches, self.fewer, self.head = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 2, 2), nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x)
        for few in (self.fewer(x), None):
            q = x.flatten(2).transpose(1, 2)[:, None]
            k = q if few is None else few.flatten(2).transpose(1, 2)[:, None]
            mixed = torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ k
            x = nn.functional.avg_pool2d(mixed[:, 0].transpose(1, 2).unflatten(2, x.shape[2:]), 2)
        return self.head(x.mean((2, 3)))


def test_attention_to_fewer_places_is_not_left_out():
    with pytest.raises(LayerError, match=r"shape \(1, 1, 36, 9\) for one image"):
        raw("attention_rollout", nets.drawn(Shrinking()), X, 1)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_steps_in_time_of_a_recurrent_layer_are_places_and_its_units_channels(kind):
    class Series(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.loop, self.head = nn.Conv1d(2, 6, 3), kind(6, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.loop(self.conv(x).transpose(1, 2))[0].mean(1))

    module, x = nets.drawn(Series()), np.random.default_rng(0).normal(size=(2, 2, 22)).astype("float32")
    explained = raw("gradcam", module, x, 1)
    with torch.no_grad():
        signal = module.loop(module.conv(torch.from_numpy(x)).transpose(1, 2))[0]
        expected = (signal @ module.head.weight[1] / 20)[..., None]
    assert explained.about["signal"] == "loop"
    close([explained.maps], [expected.numpy()], 1e-5)


class NormAct(nn.BatchNorm2d):
    """Batch normalisation and activation in one module, as timm has them."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x):
        y = nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0, self.eps)
        return self.act(y)


@pytest.mark.parametrize("method", ["lrp_epsilon", "lrp_epsilon_plus", "deeplift", "attnlrp", "excitation_backprop"])
def test_a_normalisation_with_an_activation_inside_is_both_after_one_another(method):
    def stack(norm):
        parts = nn.Conv2d(3, 6, 3), *norm(6), nn.Conv2d(6, 4, 3), *norm(4)
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))

    inside, apart = stack(lambda n: [NormAct(n)]), nets.drawn(stack(lambda n: [nn.BatchNorm2d(n), nn.ReLU()]))
    inside.eval().load_state_dict(dict(zip(inside.state_dict(), apart.state_dict().values(), strict=True)))
    expected = raw(method, apart, X, UNITS)
    assert np.ptp(expected.maps) > 0
    close(raw(method, inside, X, UNITS), expected, 1e-6)
