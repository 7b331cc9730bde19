"""Parameters that limit the passes of a measured method, and the values of the letters in its cost."""

import inspect

from keras_explainable import registry

FEW = {
    "scorecam": ({"max_channels": 8}, {"C": 8}),
    "rise": ({"repetitions": 16}, {"n": 16}),
    "sobol": ({"repetitions": 4, "segments": 2}, {"n": 4, "segments": 4}),
    "hsic": ({"repetitions": 16, "segments": 2}, {"n": 16}),
    "lime": ({"repetitions": 16, "segments": 2}, {"n": 16}),
    "kernel_shap": ({"repetitions": 16, "segments": 2}, {"n": 16}),
    "deep_shap": ({}, {"R": 1}),
    "ablationcam": ({}, {"C": 56}),  # of the demo network; others have too many channels
}
N = 5  # repetitions of any other method that repeats


def few(method, size):
    """Return the parameters and the letters of a method's cost, for images of this size."""
    params, numbers = FEW.get(method, ({}, {}))
    if method == "occlusion":
        params, numbers = {"patch": size // 2, "stride": size // 2}, {"windows": 4}
    if not numbers and "repetitions" in inspect.signature(registry.get(method)).parameters:
        params, numbers = {"repetitions": N}, {"n": N}
    return params, {"K": 1} | numbers


def countless(method, size):
    """Return whether a method takes a pass for each channel of the network, without a parameter that limits them."""
    params, numbers = few(method, size)
    return "C" in numbers and "max_channels" not in params
