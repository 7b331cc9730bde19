"""PyTorch modules are explained as they are: values against bare PyTorch, for the many ways to write modules."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import BackendError, InputError, LayerError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402

from support import torch_models as nets  # noqa: E402
from support.compare import close  # noqa: E402

ON_TORCH = keras.backend.backend() == "torch"
needs_torch = pytest.mark.skipif(not ON_TORCH, reason="modules need Keras on PyTorch")
Y = np.array([1, 4, 0])
METHODS = ["gradients", "gradcam", "gradcampp", "full_gradients", "simple_full_gradients"]


def raw(name, module, x, y=Y, **params):
    """Maps (N, *S) of a method, not processed, at the resolution of the signal."""
    return np.asarray(ke.registry.get(name)(module, x, y, **params)[1])[..., 0]


@pytest.mark.skipif(ON_TORCH, reason="here modules are welcome")
def test_another_backend_says_how_to_start_over():
    with pytest.raises(BackendError, match=f"Keras runs on {keras.backend.backend()}.*KERAS_BACKEND=torch"):
        ke.gradcam(nets.Plain(), nets.images(), 0)


@needs_torch
def test_maps_are_those_of_bare_pytorch():
    module, x = nets.drawn(nets.Plain()), nets.images()
    close(raw("gradients", module, x), abs(nets.saliency(module, x, Y)).mean(-1))
    close(raw("gradcam", module, x), nets.gradcam(module, module.conv3, x, Y))
    close(raw("gradcam", module, x, layer="bn1"), nets.gradcam(module, module.bn1, x, Y))
    scores, maps = ke.gradients(module, x, Y, verbose=0)
    close(scores[:, 0], module(torch.as_tensor(x)).detach().numpy()[np.arange(3), Y])
    assert maps.shape == (3, *nets.SIZE, 1) and maps.min() == 0 and maps.max() == 1
    every = ke.gradients(module, x, verbose=0).maps
    close(every[np.arange(3), :, :, Y], maps[..., 0], atol=1e-6)


@needs_torch
@pytest.mark.parametrize("relu", ["function_in_place", "method", "module", "module_in_place"])
def test_in_place_activations_change_nothing(relu):
    plain, x = nets.drawn(nets.Plain()), nets.images()
    module = nets.Plain(relu).eval()
    module.load_state_dict(plain.state_dict())
    for name in METHODS:
        layer = {"layer": "conv3"} if "gradcam" in name else {}
        close(raw(name, module, x, **layer), raw(name, plain, x, **layer), 1e-6)
    ours, theirs = (ke.full_gradient_decomposition(m, x, Y) for m in (module, plain))
    assert list(ours.bias_gradients) == list(theirs.bias_gradients)
    for key, value in theirs.bias_gradients.items():
        close(ours.bias_gradients[key], value, 1e-6)
    assert ours.completeness.relative_gap.max() < 1e-5


@needs_torch
def test_the_last_signal_is_the_last_to_run():
    x = nets.images()
    found = {
        relu: str(ke.models.view(nets.drawn(nets.Plain(relu)), x).signal()) for relu in ("function", "module_in_place")
    }
    assert found == {"function": "conv3", "module_in_place": "relu (call 2)"}
    with pytest.raises(LayerError, match="'unused' is in the model but was not called"):
        ke.gradcam(nets.drawn(nets.Plain()), x, Y, layer="unused", verbose=0)


class Residual(nn.Module):
    """Adds and rectifies without a module, in place on what a module returned."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.norm(self.conv(x))
        y += x
        return y.relu_()


@needs_torch
def test_a_block_that_ends_in_functions_is_the_last_signal():
    block = Residual()
    module = nets.drawn(nn.Sequential(nn.Sequential(block), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)))
    x = nets.images()
    assert str(ke.models.view(module, x).signal()) == "0.0"
    close(raw("gradcam", module, x), nets.gradcam(module, block, x, Y))
    norm = raw("gradcam", module, x, layer=block.norm)  # not what the block made of it afterwards
    assert abs(norm - raw("gradcam", module, x)).max() > 0.1 * abs(norm).max()


@needs_torch
def test_modules_called_several_times():
    shared, twins, x = nets.drawn(nets.Twice()), nets.Twice(twins=True).eval(), nets.images()
    twins.load_state_dict({**shared.state_dict(), **{f"conv_b.{k}": v for k, v in shared.conv.state_dict().items()}})
    first, second = {"name": "conv", "index": 0}, {"name": "conv_b", "index": 1}  # two names of one module
    close(raw("gradcam", shared, x, layer=first), nets.gradcam(twins, twins.conv, x, Y))
    close(raw("gradcam", shared, x, layer=second), nets.gradcam(twins, twins.conv_b, x, Y))
    close(raw("gradcam", shared, x, layer="act"), nets.gradcam(twins, twins.act_b, x, Y))
    ours, theirs = (ke.full_gradient_decomposition(m, x, Y) for m in (shared, twins))
    assert list(ours.bias_gradients) == [("stem", 0), ("conv", 0), ("conv", 1), ("fc", 0)]
    for a, b in zip(ours.bias_gradients.values(), theirs.bias_gradients.values(), strict=True):
        close(a, b)
    close(raw("full_gradients", shared, x), raw("full_gradients", twins, x))


@needs_torch
@pytest.mark.parametrize("make", [nets.ChannelsLastInside, nets.Tokens, nets.WithNormAct, nets.Twice])
def test_decompositions_are_complete(make):
    report = ke.full_gradient_decomposition(nets.drawn(make()), nets.images(), verbose=0).completeness
    assert abs(report.scores).min() > 1e-3 and report.relative_gap.max() < 1e-5


@needs_torch
def test_each_signal_has_a_layout_of_its_own():
    module, x = nets.drawn(nets.ChannelsLastInside()), nets.images()
    firsts = {call.path: call.channels_first for call in ke.inspection.signals(module, x)}
    assert firsts == {"stem": True, "mix": False, "act": False, "last": True, "fc": False}
    seen = []
    handle = module.act.register_forward_hook(lambda _, args, output: seen.append(output))
    (g,) = torch.autograd.grad(nets.score(module, torch.as_tensor(x), Y), seen)
    handle.remove()
    expected = (seen[0] * g.mean((1, 2), keepdim=True)).sum(-1).detach().numpy()
    close(raw("gradcam", module, x, layer="act"), expected)


@needs_torch
def test_a_linear_layers_output_may_be_changed_in_place():
    plain, module, x = nets.drawn(nets.Tokens(in_place=False)), nets.Tokens(), nets.images()
    module.load_state_dict(plain.state_dict())
    ours, theirs = (ke.full_gradient_decomposition(m.eval(), x, Y).bias_gradients for m in (module, plain))
    assert abs(theirs["mlp", 0]).max() > 0
    close(ours["mlp", 0], theirs["mlp", 0])


@needs_torch
def test_a_normalisation_that_rectifies_is_tapped_before():
    module, x = nets.drawn(nets.WithNormAct()), nets.images()
    apart = nn.Sequential(module.conv, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), module.fc)
    apart[1].load_state_dict(module.bn.state_dict())
    ours, theirs = (ke.full_gradient_decomposition(m.eval(), x, Y).bias_gradients for m in (module, apart))
    close(ours["bn", 0], theirs["1", 0])


@needs_torch
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_any_number_of_spatial_axes(rank):
    module, size = nets.drawn(nets.Sized(rank)), (9, 8, 7)[:rank]
    x = nets.images(size=size, channels=2)
    assert ke.full_gradient_decomposition(module, x).completeness.relative_gap.max() < 1e-5
    close(raw("gradcam", module, x), nets.gradcam(module, module.up, x, Y))
    assert ke.full_gradients(module, x, Y, verbose=0).maps.shape == (3, *size, 1)


def layers(rank):
    conv, up, batch, instance = (
        getattr(nn, f"{n}{rank}d") for n in ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm")
    )
    return {
        "conv": conv(4, 6, 2),
        "depthwise": conv(4, 4, 2, groups=4),
        "transposed": up(4, 6, 2),
        "batch": batch(4),
        "batch, plain": batch(4, affine=False),
        "batch, no statistics": batch(4, track_running_stats=False),
        "instance": instance(4, affine=True),
        "instance, statistics": instance(4, affine=True, track_running_stats=True),
        "group": nn.GroupNorm(2, 4),
        "layer": nn.LayerNorm([4, *(5,) * rank]),
        "layer, last axis": nn.LayerNorm(5),
        "linear": nn.Linear(5, 6),
    }


@needs_torch
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", list(layers(2)))
def test_the_effective_bias_is_what_a_layer_makes_of_nothing(name, rank):
    """All these layers are linear and a bias, or forget a constant input but for their bias: their value at 0 is it."""
    layer = nets.drawn(layers(rank)[name])
    module, x = nn.Sequential(layer), torch.zeros(2, 4, *(5,) * rank)
    adapter = ke.models.adapter(module)
    (call,) = adapter.trace((1, *x.shape[1:])).calls
    expected = layer(x).detach()
    expected = expected.movedim(1, -1) if call.channels_first else expected
    bias = adapter.layers.bias("0") if call.has_bias else torch.zeros(1)
    assert call.has_bias and abs(expected).max() > 0.01
    close(bias.expand(expected.shape), expected, atol=1e-6)


@needs_torch
def test_biases_are_found_around_a_norm_without_statistics():
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), nn.Flatten()
    module = nets.drawn(nn.Sequential(*layers, nn.Linear(4 * 12 * 16, 5)))
    report = ke.full_gradient_decomposition(module, nets.images(), 1).completeness
    assert len(report.contributions) == 4  # of the input, the convolution, the norm and the head


@needs_torch
@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 3, 1, bias=False), nn.LayerNorm(18, bias=False), nn.GroupNorm(1, 3, affine=False), nn.ReLU()]
)
def test_layers_without_bias(layer):
    assert not ke.inspection.layers_with_biases(nn.Sequential(layer), return_biases=False)


@needs_torch
def test_weights_are_read_at_each_call():
    module, x = nets.drawn(nets.Plain()), nets.images()
    before = raw("full_gradients", module, x)
    nets.drawn(module, seed=1)
    fresh = nets.drawn(nets.Plain(), seed=1)
    close(raw("full_gradients", module, x), raw("full_gradients", fresh, x), 1e-6)
    assert abs(raw("full_gradients", module, x) - before).max() > 0.1
    module.conv1.bias = fresh.conv1.bias = None
    assert ("conv1", 0) not in ke.full_gradient_decomposition(module, x, Y).bias_gradients
    assert ke.full_gradient_decomposition(module, x, Y).completeness.relative_gap.max() < 1e-5


@needs_torch
@pytest.mark.parametrize("head", [nn.Softmax(-1), nn.Sigmoid(), nn.LogSoftmax(-1), nn.LogSigmoid(), nn.Hardsigmoid()])
def test_scores_are_taken_before_the_last_activation(head):
    plain, module, x = (
        nets.drawn(nets.Plain()),
        nets.Plain(head=nn.Sequential(head, nn.Identity())).eval(),
        nets.images(),
    )
    module.load_state_dict(plain.state_dict(), strict=False)
    ours, theirs = (ke.gradcam(m, x, Y, verbose=0) for m in (module, plain))
    close(ours.scores, theirs.scores, 1e-6)
    close(ours.maps, theirs.maps, 1e-5)
    assert ours.about["score"] == "input of head.0"


@needs_torch
def test_a_hidden_sigmoid_is_no_head():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 5)
    )
    x = nets.images()
    close(ke.gradients(nets.drawn(module), x, verbose=0).scores, module(torch.as_tensor(x)).detach().numpy(), 1e-6)


@dataclasses.dataclass
class Output:
    features: torch.Tensor
    logits: torch.Tensor


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.net, self.make = nets.drawn(nets.Plain()), make

    def forward(self, x):
        return self.make(self.net(x), x)


@needs_torch
@pytest.mark.parametrize(
    "make",
    [
        lambda s, x: (s, x),
        lambda s, x: [[s], x],
        lambda s, x: {"features": x, "logits": s},
        lambda s, x: {"out": s, "aux": x},
        lambda s, x: Output(x, s),
    ],
)
def test_scores_among_several_outputs(make):
    x, plain = nets.images(), nets.drawn(nets.Plain())
    ours, theirs = (ke.gradcam(m, x, Y, verbose=0) for m in (Returns(make), plain))
    close(ours.scores, theirs.scores, 1e-6)
    close(ours.maps, theirs.maps, 1e-6)


@needs_torch
def test_a_score_of_the_users_own():
    x, plain = nets.images(), nets.drawn(nets.Plain())
    module = Returns(lambda s, x: {"mask": x, "values": s})
    ours = ke.gradients(module, x, score=lambda out: out["values"][:, 1:3] * 2, verbose=0)
    close(ours.scores, 2 * ke.gradients(plain, x, verbose=0).scores[:, 1:3], 1e-6)
    nothing = Returns(lambda s, x: {"n": 1})
    with pytest.raises(InputError, match="pass score="):
        ke.gradients(nothing, x, 0, verbose=0)
    with pytest.raises(InputError, match="pass score="):
        ke.gradients(nn.Conv2d(3, 4, 1), x, 0, verbose=0)


@needs_torch
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions(dtype):
    module, x = nets.drawn(nets.Plain()), nets.images()
    expected = {name: raw(name, module, x) for name in METHODS}
    module.to(dtype)
    for name in METHODS:
        maps = raw(name, module, x)
        assert maps.dtype == "float32"
        close(maps, expected[name], 1e-5 if dtype == torch.float64 else 0.1)


@needs_torch
def test_memory_formats():
    module, x = nets.drawn(nets.Plain("module_in_place")), nets.images()
    expected = {name: raw(name, module, x) for name in METHODS}
    module.to(memory_format=torch.channels_last)
    for name in METHODS:
        close(raw(name, module, torch.as_tensor(x).contiguous(memory_format=torch.channels_last)), expected[name])


@needs_torch
def test_weights_computed_by_a_parametrization():
    module, x = nets.drawn(nets.Plain()), nets.images()
    expected = {name: raw(name, module, x) for name in METHODS}
    torch.nn.utils.parametrizations.weight_norm(module.conv3)
    assert str(ke.models.view(module, x).signal()) == "conv3"  # and not its weights, which have four axes as well
    for name in METHODS:
        close(raw(name, module, x), expected[name])


@needs_torch
def test_modules_without_weights_yet():
    x = nets.images()
    module = nn.Sequential(nn.LazyConv2d(6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))
    assert ke.full_gradient_decomposition(module, x).completeness.relative_gap.max() < 1e-5


@needs_torch
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_programs_that_hide_their_layers():
    module, x = nets.drawn(nets.Plain()), nets.images()
    traced = torch.jit.trace(module, torch.as_tensor(x))
    sizes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(module, (torch.as_tensor(x),), dynamic_shapes=sizes).module()
    for program in (traced, exported):
        close(raw("gradients", program, x), raw("gradients", module, x))
    with pytest.raises(LayerError, match="shows none of its layers"):
        ke.full_gradients(traced, x, Y, verbose=0)
    with pytest.raises(LayerError, match="shows none of its layers"):
        ke.gradcam(traced, x, Y, verbose=0)
    for method in ("full_gradients", "lrp_epsilon", "deeplift", "guided_backprop"):  # its functions are seen
        close(raw(method, exported, x), raw(method, module, x), 3e-3)
    conv = nets.drawn(nn.Conv2d(3, 5, 3))
    inside, plain = (
        nn.Sequential(c, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()) for c in (torch.jit.script(conv), conv)
    )
    close(raw("gradcam", inside, x), raw("gradcam", plain, x))


@needs_torch
def test_images_of_another_layout_are_refused():
    x = np.moveaxis(nets.images(), 1, -1)
    with pytest.raises(InputError, match=r"channels first.*x.transpose\(0, 3, 1, 2\)"):
        ke.gradcam(nets.drawn(nets.Plain()), x, 0, verbose=0)


@needs_torch
def test_images_with_another_number_of_channels_are_refused():
    with pytest.raises(InputError, match=r"another number of channels.*\[1, 1, "):
        ke.gradcam(nets.drawn(nets.Plain()), nets.images(channels=1), 0, verbose=0)


@needs_torch
def test_one_image_is_told_to_need_a_batch_axis():
    normed = nn.Sequential(nn.BatchNorm2d(3), nets.Plain())
    for module in (nets.drawn(nets.Plain()), normed):
        for x in (nets.images()[0], iter(nets.images())):
            with pytest.raises(InputError, match=r"add the batch axis, x\[None\], and to a dataset .*\.batch\(n\)"):
                ke.gradcam(module, x, 0, verbose=0)


@needs_torch
def test_channels_that_a_normalization_does_not_know_are_refused():
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(InputError, match="another number of channels: running_mean should contain 3 elements not 1"):
        ke.gradients(module, nets.images(), 0, verbose=0)


@needs_torch
def test_what_fails_inside_of_a_module_is_its_own():
    class Broken(nets.Plain):
        def forward(self, x):
            raise ValueError("the license has expired")

    with pytest.raises(ValueError, match="^the license has expired$") as caught:
        ke.gradients(Broken(), nets.images(), 0, verbose=0)
    assert not isinstance(caught.value, InputError)
