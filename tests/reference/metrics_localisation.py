"""Slow twins of the metrics of localisation, of one map (*S) and one mask (*S) at a time."""

import numpy as np


def pixels(map_):
    return list(np.ndindex(map_.shape))


def pointing_game(map_, mask, tolerance=0):
    top = [p for p in pixels(map_) if map_[p] == map_.max()]
    inside = [p for p in pixels(map_) if mask[p]]

    def near(p):
        return any(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) <= tolerance**2 for q in inside)

    return sum(near(p) for p in top) / len(top), np.mean([near(p) for p in pixels(map_)])


def mass(map_, mask):
    return sum(max(float(map_[p]), 0) for p in pixels(map_) if mask[p])


def mass_accuracy(map_, mask):
    return mass(map_, mask) / mass(map_, np.ones_like(mask))


def rank_accuracy(map_, mask, ties):
    order = sorted(range(map_.size), key=lambda i: (-map_.ravel()[i], ties[i]))
    number = int(mask.sum())
    return sum(mask.ravel()[i] for i in order[:number]) / number


def roc_auc(map_, mask):
    pairs = [(map_[p], map_[q]) for p in pixels(map_) for q in pixels(map_) if mask[p] and not mask[q]]
    return sum(1 if a > b else 0.5 if a == b else 0 for a, b in pairs) / len(pairs)


def average_precision(map_, mask):
    found = []
    for p in pixels(map_):
        if mask[p]:
            above = [q for q in pixels(map_) if map_[q] >= map_[p]]
            found.append(sum(mask[q] for q in above) / len(above))
    return np.mean(found)


def iou(map_, mask, threshold):
    chosen = {p for p in pixels(map_) if map_[p] >= np.float32(threshold) * map_.max()}
    inside = {p for p in pixels(map_) if mask[p]}
    return len(chosen & inside) / len(chosen | inside)


def class_selectivity(map_, mask, other):
    return mass(map_, mask) / mass(map_, mask | other)


def scaled(map_):
    map_ = map_.astype("float64")
    return (map_ - map_.min()) / (map_.max() - map_.min())


def pixel_ap(maps, masks):
    """Of lists of maps and masks: precision times the gain in recall, threshold after threshold."""
    values = np.concatenate([np.floor(scaled(m) * 1000).ravel() for m in maps])
    inside = np.concatenate([y.ravel() for y in masks])
    total, before = 0.0, 0.0
    for threshold in range(1000, -1, -1):
        chosen = values >= threshold
        recall = (chosen & inside).sum() / inside.sum()
        if chosen.any():
            total += (recall - before) * (chosen & inside).sum() / chosen.sum()
        before = recall
    return total


def groups(chosen):
    """Sets of chosen pixels that touch one another, also at corners, by a flood."""
    left, found = {p for p in pixels(chosen) if chosen[p]}, []
    while left:
        group, front = set(), [left.pop()]
        while front:
            p = front.pop()
            group.add(p)
            near = [q for q in left if max(abs(a - b) for a, b in zip(p, q, strict=True)) <= 1]
            left.difference_update(near)
            front.extend(near)
        found.append(group)
    return found


def box(group):
    """The pixels in the box around a group of pixels."""
    low, high = np.min(list(group), axis=0), np.max(list(group), axis=0)
    return {tuple(low + p) for p in np.ndindex(*(high - low + 1))}


def max_box_accuracy(maps, masks, thresholds=100):
    total = 0.0
    for least in (0.3, 0.5, 0.7):
        shares = []
        for t in range(thresholds):
            hits = []
            for map_, mask in zip(maps, masks, strict=True):
                objects = [box(g) for g in groups(mask)]
                boxes = [box(g) for g in groups(scaled(map_) >= t / thresholds)]
                hits.append(any(len(o & b) / len(o | b) >= least for o in objects for b in boxes))
            shares.append(np.mean(hits))
        total += max(shares) / 3
    return total


def left_out_iou(maps, masks, thresholds):
    found = np.array([[iou(m, y, t) for t in thresholds] for m, y in zip(maps, masks, strict=True)])
    values = []
    for i in range(len(maps)):
        others = [found[j].tolist() for j in range(len(maps)) if j != i]
        values.append(found[i, int(np.argmax(np.mean(others, axis=0)))])
    return values
