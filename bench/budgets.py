"""Parameters with which a method of many passes is measured, few of them, and the letters of its cost."""

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
    "ablationcam": ({}, {"C": 56}),  # the demo network's; others have too many
}
N = 5  # draws of any other method that repeats


def few(method, size):
    """Those of a method on images of that size."""
    params, numbers = FEW.get(method, ({}, {}))
    if method == "occlusion":
        params, numbers = {"patch": size // 2, "stride": size // 2}, {"windows": 4}
    if not numbers and "repetitions" in inspect.signature(registry.get(method)).parameters:
        params, numbers = {"repetitions": N}, {"n": N}
    return params, {"K": 1} | numbers


def countless(method, size):
    """Whether a method takes as many passes as a network has channels, and nothing makes them fewer."""
    params, numbers = few(method, size)
    return "C" in numbers and "max_channels" not in params
