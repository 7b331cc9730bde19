"""What the maps of the demo show, in sentences with pictures: claims are made only where the numbers support them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_explainable.gallery.objects import Objects
from keras_explainable.viz import image, tables
from keras_explainable.viz.html_report import RAMP, Finding

MOST = 5  # names in a sentence


def findings(found: Any, objects: Objects, shown: int, maps: Mapping[str, np.ndarray]) -> list[Finding]:
    """Return up to three findings from a `ke.evaluate` by srg, pointing_game and mass_accuracy, and maps (M, H, W) of
    the objects.

    Pictures are of the first `shown` objects."""
    ours = [name for name in found.methods if not found.baselines[name] and name in maps]
    sound = found.beating("pointing_game", ours)
    points = {name: cell.mean for name, cell in found.column("pointing_game").items()}
    if not sound:
        return [Finding("No method here finds the objects.", "None points at them more often than a map of edges.")]
    best = max(sound, key=points.__getitem__)
    i = _clearest(found, best, shown)
    return [
        _looks_at_the_object(best, points[best], i, objects, maps),
        *_each_class(best, objects, shown, maps),
        *_not_every_method(found, ours, best, i, objects, maps),
    ]


def _looks_at_the_object(best: str, share: float, i: int, objects: Objects, maps: Mapping[str, np.ndarray]) -> Finding:
    chance = float(objects.masks.mean())
    return Finding(
        "The network looks at the object that it names.",
        f"In {percent(share)} of {len(objects)} maps by {best}, the largest value lies on the object. A random pixel "
        f"lies there in {percent(chance)}.",
        [(objects.photos[i], f"the image: {objects.names[i]}"), _picture(best, i, objects, maps)],
    )


def _each_class(best: str, objects: Objects, shown: int, maps: Mapping[str, np.ndarray]) -> list[Finding]:
    """Of scenes with several objects: whether the map of each lies on it, and not on another."""
    own: list[bool] = []
    other: list[bool] = []
    for i in range(len(objects)):
        rest = [j for j in np.flatnonzero(objects.scenes == objects.scenes[i]) if j != i]
        if rest:
            at = image.peak(maps[best][i])
            own.append(bool(objects.masks[i][at]))
            other.append(any(objects.masks[j][at] for j in rest))
    pairs = [np.flatnonzero(objects.scenes[:shown] == scene) for scene in np.unique(objects.scenes[:shown])]
    here, elsewhere = float(np.mean(own)), float(np.mean(other))
    pair = next((pair for pair in pairs if len(pair) > 1 and all(_on(best, i, objects, maps) for i in pair[:2])), None)
    if pair is None or here < 2 * max(elsewhere, 0.25):
        return []
    return [
        Finding(
            "Each class has a map of its own.",
            "These are two maps of one image. In scenes with several objects, the map of a class peaks on its own "
            f"object in {percent(here)}, and on another in {percent(elsewhere)}.",
            [_picture(best, int(i), objects, maps) for i in pair[:2]],
        )
    ]


def _not_every_method(
    found: Any, ours: Sequence[str], best: str, i: int, objects: Objects, maps: Mapping[str, np.ndarray]
) -> list[Finding]:
    """Which methods are not better than all maps that know nothing of the model, by srg."""
    doubtful = sorted(set(ours) - found.beating("srg", list(ours)))
    if not doubtful:
        return [
            Finding("Every method here depends on the network.", "All are better than maps that know nothing of it.")
        ]
    means = {name: cell.mean for name, cell in found.column("srg").items()}
    worst = min(doubtful, key=means.__getitem__)
    return [
        Finding(
            "A map that looks like an answer may be none.",
            f"{tables.listed(doubtful, MOST)} {'is' if len(doubtful) == 1 else 'are'} not better than maps that know "
            "nothing of the "
            f"network, such as edges and noise: removing what {worst} marks changes the score no more than they do.",
            [_picture(best, i, objects, maps), _picture(worst, i, objects, maps)],
        )
    ]


def _clearest(found: Any, method: str, shown: int) -> int:
    """The object that is shown of whose map by a method most lies on it."""
    share = found.of("mass_accuracy")[found.methods.index(method)][:shown]
    return int(np.argmax(np.nan_to_num(share, nan=-1.0)))


def _on(name: str, i: int, objects: Objects, maps: Mapping[str, np.ndarray]) -> bool:
    return bool(objects.masks[i][image.peak(maps[name][i])])


def _picture(name: str, i: int, objects: Objects, maps: Mapping[str, np.ndarray]) -> tuple[np.ndarray, str]:
    return image.highlight(objects.photos[i], maps[name][i], cmap=RAMP), f"{name}: {objects.names[i]}"


def percent(share: float) -> str:
    """A share in words."""
    return f"{100 * share:.0f} %"
