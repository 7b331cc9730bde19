"""Parameters that limit the passes of a measured method, and the values of the letters in its cost."""

import inspect

from bench.networks import TAILS
from keras_explainable.registry import METHODS, Need

N = 5  # repetitions of a method that repeats; of one that explains a black box, more:
MASKED, MASKED_FOR_EACH = 16, 4  # the latter where each repetition masks every segment
CHANNELS = 56  # of the signal that is explained in the demo network; other networks have too many


def few(method, size):
    """Return the parameters and the letters of a method's cost, for images of this size."""
    record = METHODS[method]
    black_box, letters = Need.BLACK_BOX in record.needs, record.cost.letters
    masked = MASKED_FOR_EACH if "segments" in letters else MASKED
    limits = {"repetitions": masked if black_box else N, "max_channels": 8, "patch": size // 2, "stride": size // 2}
    if black_box:
        limits["segments"] = 2  # along each axis
    params = {name: limits[name] for name in inspect.signature(record.function).parameters if name in limits}
    channels = params.get("max_channels", CHANNELS)
    numbers = {"n": params.get("repetitions", N), "C": channels, "R": 1, "windows": 4, "segments": 4}
    return params, {"K": 1} | {letter: number for letter, number in numbers.items() if letter in letters}


def countless(method, size, network):
    """Return whether a method takes a pass for each channel of the network, without a parameter that limits them; or a
    tail of a network that has no bare one."""
    params, numbers = few(method, size)
    if "tail" in METHODS[method].cost.letters:
        return network not in TAILS
    return network != "demo" and "C" in numbers and "max_channels" not in params
