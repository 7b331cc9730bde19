"""On plain modules, what comes after a replaced signal is recorded once, and runs for many channels at once."""

import numpy as np
import pytest

from support.selection import BACKEND

if BACKEND != "torch":
    pytest.skip("modules need Keras on PyTorch", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional as F

from support import torch_models as nets
from support.calls import raw
from support.compare import close

UNITS = np.array([[1, 4], [0, 0], [3, 2]])


class Steps(nn.Module):
    """A convolution, whose output is the signal, and the steps given."""

    def __init__(self, rest):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.fc = nn.Conv2d(8, 8, 3, stride=2), nn.Linear(8, nets.UNITS)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.mix = nn.Linear(8, 8)
        self.rest = rest

    def forward(self, x):
        return self.fc(self.rest(self, self.conv(x)))


def tokens(v):
    return v.flatten(2).transpose(1, 2)


def in_place(net, v):
    """A residual block as torchvision writes it."""
    kept, v = v, F.relu(net.norm(v))
    v += kept
    return F.relu_(v).mean((2, 3))


def by_number(net, v):
    """What comes before is written to, after it was read."""
    table = torch.zeros(8, dtype=v.dtype)
    mean = v.mean((2, 3)) + table
    table += 1
    return mean * table


def written(net, v):
    """The signal is written into a tensor of zeros."""
    padded = v.new_zeros(*v.shape[:-1], v.shape[-1] + 1)
    padded[..., 1:] = v
    return padded.mean((2, 3))


MAPPED = {
    "in place": in_place,
    "convolution": lambda net, v: F.relu(net.down(v)).amax((2, 3)),
    "channels last": lambda net, v: F.gelu(net.mix(v.permute(0, 2, 3, 1))).mean((1, 2)),
    "attention": lambda net, v: net.attention(tokens(v), tokens(v), tokens(v))[0].mean(1),
    "layer": lambda net, v: net.layer(tokens(v)).mean(1),
    "scaled": lambda net, v: F.scaled_dot_product_attention(tokens(v), tokens(v), tokens(v)).mean(1),
    "parts": lambda net, v: torch.cat([part.mean((2, 3)) for part in v.chunk(2, 1)], 1),
    "resized": lambda net, v: F.interpolate(v, size=(9, 9), mode="bilinear").std((2, 3)),
    "written": written,
    "indexed": lambda net, v: v[:, [7, 6, 5, 4, 3, 2, 1, 0], 1::2].flatten(2).sort(-1).values[..., -3:].mean(-1),
}
WHOLE = {
    "known after": by_number,
    "masked": lambda net, v: torch.stack([one[one > one.mean()].sum() * net.mix.bias for one in v]),
    "read": lambda net, v: v.mean((2, 3)) * (2 if v.max() > 0 else 1),
    "NumPy": lambda net, v: torch.from_numpy(np.tanh(v.detach().numpy())).mean((2, 3)),
}


def expected(net, x):
    """Ablation-CAM by one run for each channel."""
    with torch.no_grad():
        x, units = torch.as_tensor(x), torch.as_tensor(UNITS)
        a = net.conv(x)
        scores, weights = net(x).gather(1, units), []
        for c in range(a.shape[1]):
            handle = net.conv.register_forward_hook(lambda _, args, y, c=c: y * (torch.arange(8) != c)[:, None, None])
            weights.append((scores - net(x).gather(1, units)) / scores.abs())
            handle.remove()
        return scores.numpy(), torch.einsum("bchw,cbk->bhwk", a, torch.stack(weights)).numpy()


@pytest.mark.parametrize("name", [*MAPPED, *WHOLE])
def test_scores_are_those_of_whole_runs(name):
    net, x = nets.drawn(Steps((MAPPED | WHOLE)[name])), nets.images()
    found = raw("ablationcam", net, x, UNITS, layer="conv")
    close(found, expected(net, x))
    assert ("passes" in found.about) == (name in WHOLE), found.about


def test_a_module_that_draws_runs_as_a_whole():
    net = nets.drawn(Steps(lambda net, v: F.dropout(v.mean((2, 3)), 0.5, training=True)))
    with pytest.warns(UserWarning, match="draws random numbers"):
        found = raw("ablationcam", net, nets.images(), UNITS, layer="conv")
    assert "passes" in found.about


def test_the_module_keeps_no_tensor_of_ours():
    def keeps(net, v):
        net.seen = v.mean((2, 3))
        return net.seen

    net, x = nets.drawn(Steps(keeps)), nets.images()
    close(raw("ablationcam", net, x, UNITS, layer="conv"), expected(net, x))
    assert type(net.seen) is torch.Tensor and np.isfinite(net.seen.numpy()).all()
