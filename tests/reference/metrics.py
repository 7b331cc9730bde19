"""Slow twins of the metrics that run a model, for any NumPy function `logits(images) -> (N, U)`: one masked image at a
time, channels last."""

import numpy as np


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def quantity(logits, image, unit, kind):
    z = np.asarray(logits(image[None])[0], "float64")
    others = max(z[j] for j in range(len(z)) if j != unit)
    return {
        "logit": z[unit],
        "probability": softmax(z)[unit],
        "margin": z[unit] - others,
        "accuracy": float(z[unit] > others),
    }[kind]


def ordered(map_, ties):
    """The pixels of a map, the largest value first; equal values by their `ties`."""
    return sorted(range(map_.size), key=lambda i: (-map_.ravel()[i], ties[i]))


def without(image, pixels, filled):
    """An image with some pixels, numbered row by row, taken from `filled`."""
    flat = image.reshape(-1, image.shape[-1]).copy()
    flat[list(pixels)] = filled.reshape(flat.shape)[list(pixels)]
    return flat.reshape(image.shape)


def fill_of(image, name):
    if name == "mean":
        return np.broadcast_to(image.reshape(-1, image.shape[-1]).mean(0), image.shape)
    return np.broadcast_to(np.float32(name), image.shape)


def curves(logits, image, unit, map_, shares, fill, ties, kind="probability"):
    """The scores without, and with nothing but, the first pixels; and the shares of pixels."""
    order, down, up, area = ordered(map_, ties), [], [], []
    for q in shares:
        n = int(np.floor(q * map_.size + 0.5))
        filled = fill(image) if callable(fill) else fill_of(image, fill)
        down.append(quantity(logits, without(image, order[:n], filled), unit, kind))
        up.append(quantity(logits, without(image, order[n:], filled), unit, kind))
        area.append(n / map_.size)
    return np.array(down), np.array(up), np.array(area)


def trapezoid(values, at):
    total = 0.0
    for i in range(len(at) - 1):
        total += (at[i + 1] - at[i]) * (values[i] + values[i + 1]) / 2
    return total / (at[-1] - at[0])


def cell_of(size, cells):
    """The number of each pixel's cell, row by row."""
    rows = [[(i * cells // size[0]) * cells + j * cells // size[1] for j in range(size[1])] for i in range(size[0])]
    return np.array(rows)


def drawn_subsets(share, order, least, most):
    """Subsets of cells from uniform numbers: one for the size of each, and one for each cell in it."""
    found = []
    for s, row in zip(share, order, strict=True):
        size = int(np.floor((least + (most - least) * float(s)) * len(row) + 0.5))
        found.append(sorted(range(len(row)), key=lambda i, row=row: row[i])[: max(size, 1)])
    return found


def drops(logits, image, unit, map_, cells, subsets, fill="mean", kind="logit"):
    """For each subset of cells: the map's sum over it, and the fall of the score without it."""
    of, filled = cell_of(map_.shape, cells).ravel(), fill_of(image, fill)
    whole = quantity(logits, image, unit, kind)
    sums, falls = [], []
    for subset in subsets:
        pixels = [i for i in range(map_.size) if of[i] in subset]
        sums.append(map_.ravel()[pixels].astype("float64").sum())
        falls.append(whole - quantity(logits, without(image, pixels, filled), unit, kind))
    return np.array(sums), np.array(falls)


def ranks(values):
    return np.array([np.mean([i for i, w in enumerate(sorted(values)) if w == v]) for v in values])


def infidelity(sums, falls):
    """The least mean squared error over all scales b of the map, relative to that of no map; found by the formula of
    least squares."""
    b = (sums * falls).sum() / (sums * sums).sum()
    return np.mean((b * sums - falls) ** 2) / np.mean(falls**2)


def linear_fill(image, missing):
    """Missing pixels as the weighted mean of their neighbours, by a dense system."""
    height, width = missing.shape
    places = [(i, j) for i in range(height) for j in range(width) if missing[i, j]]
    number = {place: n for n, place in enumerate(places)}
    a, b = np.zeros((len(places), len(places))), np.zeros((len(places), image.shape[-1]))
    for (i, j), n in number.items():
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                at = (i + di, j + dj)
                if (di, dj) == (0, 0) or not (0 <= at[0] < height and 0 <= at[1] < width):
                    continue
                weight = 1 / 12 if di and dj else 1 / 6
                a[n, n] += weight
                if at in number:
                    a[n, number[at]] -= weight
                else:
                    b[n] += weight * image[at]
    filled = image.astype("float64").copy()
    for place, value in zip(places, np.linalg.solve(a, b), strict=True):
        filled[place] = value
    return filled
