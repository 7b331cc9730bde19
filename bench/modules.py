"""`KERAS_BACKEND=torch python -m bench.modules`: what explaining a plain PyTorch module costs, beside bare PyTorch.

Needs torchvision: `pip install --no-deps torchvision` (its models run without its compiled operators)."""

import argparse
import statistics

import keras_explainable as ke  # first: it chooses the backend

import torch  # isort: skip
from torch.profiler import ProfilerActivity, profile  # isort: skip

from bench.measure import alternate, ratio  # isort: skip

ROWS = {
    "gradcam": ("forward", 1.05),
    "gradients": ("gradient", None),
    "full_gradients": ("gradient", 1.25),
}
TARGETS = {("vgg11_bn", "full_gradients"): 1.5}
MEMORY = 1.3


def build(name: str) -> torch.nn.Module:
    """A torchvision network with random weights, frozen."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):  # declared, so that torchvision can be imported without being compiled
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    torch.manual_seed(0)
    return getattr(torchvision.models, name)(weights=None).eval().requires_grad_(False)


def peak(run) -> float:
    """The most memory, in MiB, that tensors made by `run` take at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.modules", description=__doc__)
    parser.add_argument("--networks", nargs="*", default=["resnet18", "resnet50", "vgg11_bn"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    for name in args.networks:
        compare(name, torch.randn(args.batch, 3, args.size, args.size), args.rounds)


def compare(name: str, x: torch.Tensor, rounds: int) -> None:
    module = build(name)
    y = torch.randint(0, 1000, (len(x), 1))
    units = y.numpy()

    def forward():
        with torch.no_grad():
            return module(x)

    def gradient():
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(module(leaf).gather(1, y).sum(), leaf)

    sides = {"forward": forward, "gradient": gradient}
    for method in ROWS:
        sides[method] = lambda method=method: getattr(ke, method)(module, x, units, verbose=0)
    seconds = alternate(sides, rounds, budget=300)
    memory = {side: peak(run) for side, run in sides.items()}

    print(f"{name}, {tuple(x.shape)}, {torch.get_num_threads()} threads")
    for side, times in seconds.items():
        line = f"{side:24s} {statistics.median(times):8.3f} s {memory[side]:7.0f} MiB"
        if side in ROWS:
            floor, target = ROWS[side][0], TARGETS.get((name, side), ROWS[side][1])
            middle, low, high = ratio(times, seconds[floor])
            line += f"   {middle:5.2f} x {floor} ({low:.2f} to {high:.2f}), memory {memory[side] / memory[floor]:.2f} x"
            line += f"   at most {target} x and {MEMORY} x" if target else ""
        print(line)


if __name__ == "__main__":
    main()
