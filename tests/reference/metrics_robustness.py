"""Slow twins of the metrics of robustness: one noisy image at a time, for any functions `explain(image) -> (*S, K)` and
`logits(image) -> (U,)` of an image (*S, C)."""

import numpy as np


def noisy(image, uniform, noise):
    """A copy of an image with noise from -r to r, r a share of its range, from uniform numbers between 0 and 1."""
    r = np.float32(noise) * (image.max() - image.min())
    return image + r * (2 * uniform - 1)


def size(values):
    return sum(float(v) ** 2 for v in np.ravel(values)) ** 0.5


def quotient(change, of, least):
    """Each value of a change divided by the value that changes, or by a share of the largest one if that is more."""
    floor = least * abs(of).max()
    pairs = zip(np.ravel(change), np.ravel(of), strict=True)
    return [0.0 if c == 0 else float(c) / max(abs(float(v)), floor) for c, v in pairs]


def kept(image, draws, noise, logits):
    """The noisy copies that the model gives the same class."""
    copies = [noisy(image, uniform, noise) for uniform in draws]
    return [copy for copy in copies if np.argmax(logits(copy)) == np.argmax(logits(image))]


def sensitivities(image, draws, noise, unit, explain, logits):
    """The relative changes of a unit's map, and those over the change of the image."""
    before, found = explain(image)[..., unit].astype("float64"), []
    for copy in kept(image, draws, noise, logits):
        change = explain(copy)[..., unit] - before
        found.append((size(change) / size(before), size(change) / size(copy.astype("float64") - image)))
    return np.array(found)


def relative_stability(image, draws, noise, unit, explain, logits, value, elementwise=False, least=1e-6):
    """The largest relative change of a map over that of `value(image)`."""
    before, start, found = explain(image)[..., unit].astype("float64"), value(image).astype("float64"), []
    for copy in kept(image, draws, noise, logits):
        change, reach = explain(copy)[..., unit] - before, value(copy) - start
        if elementwise:
            over = size(reach) if start.ndim == 1 else size(quotient(reach, start, least))
            found.append(size(quotient(change, before, least)) / max(over, least))
        else:
            found.append(size(change) / size(before) / max(size(reach) / size(start), least))
    return max(found)
