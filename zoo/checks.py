"""Run each method on one subject, and compare it with a second computation if there is one: a row with the outcome."""

import time
import warnings
from itertools import product

import numpy as np

import keras_explainable as ke
from zoo import readings
from zoo.subject import Place

METHODS = (
    "gradients",
    "gradcam",
    "decomposition",
    "full_gradients",
    "integrated_gradients",
    "occlusion",
    "guided_backprop",
    "lrp_epsilon_plus",
    "deeplift",
    "attnlrp",
    "attention_rollout",
    "attention_relevance",
    "layercam",
    "eigencam",
    "scorecam",
    "without_score",
)
REPETITIONS = 2  # of integrated gradients, which are compared with the same sum
CHANNELS = 4  # of Score-CAM
GAP = 1e-3
SENSIBLE = 0.6  # the least evidence: with random weights, a cell of a deep map sees nearly all of a small image
EARLY = 0.1  # the fraction of layers with kernels that must have begun
BETTER = 0.1  # how much more evidence another reading of the same tensor may have
TOLERANCE = {
    "gradients": 1e-4,
    "integrated_gradients": 5e-3,
    "guided_backprop": 1e-3,
    "deeplift": 2e-2,
    "occlusion": 1e-2,
}
TOLERANCE |= {"gradcam": 1e-3, "layercam": 1e-3, "eigencam": 1e-2}
SCORES = 1e-3
WARNINGS = {  # the start of a flaw -> words of the library's warning about it
    "not finite": "NaN or infinite",
    "constant": "same everywhere",
    "the signal's places have no gradient": "same everywhere",
    "differs": "miss the change of the score",
}


def check(subject, method, reference):
    """Return a row with the `outcome`, and `why`, the signal, the error and the warnings if there are any.

    Outcomes:
    - right: equal to a second computation.
    - ran: finite, not constant, and with the right scores, but without a second computation.
    - refused: the library raised one of its own errors.
    - warned: not right, and a warning of the library says so.
    - wrong: not right, without such a warning.
    - crash: any other error.
    """
    row, begun = {"method": method}, time.process_time()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            flaws = CHECKS.get(method, explanation)(subject, method, reference, row)
        row["warnings"] = list(dict.fromkeys(str(one.message)[:200] for one in caught))[:3]
        warned = all(any(words in text for words, text in product(said(flaw), row["warnings"])) for flaw in flaws)
        wrong = "warned" if warned else "wrong"
        row["outcome"] = wrong if flaws else "right" if "error" in row else "ran"
        row["why"] = "; ".join(flaws)
    except ke.errors.ExplainError as refusal:
        row |= {"outcome": "refused", "why": str(refusal)[:700]}
    except Exception as failure:  # any other error is a finding
        row |= {"outcome": "crash", "why": f"{type(failure).__name__}: {str(failure)[:500]}"}
    return row | {"seconds": round(time.process_time() - begun, 1)}


def said(flaw):
    """Return the words of the library's warnings about a flaw."""
    return [words for beginning, words in WARNINGS.items() if flaw.startswith(beginning)]


def explain(subject, method, **options):
    given = {"verbose": 0, "postprocessing": None} | subject.options | options
    if subject.score is not None:
        given["score"] = subject.score
    if subject.leaf:
        given["leaf"] = subject.leaf
    return ke.explain(method, subject.model, subject.x, subject.y, **given)


def options(subject, method):
    """Return parameters that make a method quick."""
    return {
        "integrated_gradients": {"repetitions": REPETITIONS},
        "scorecam": {"max_channels": CHANNELS},
        "occlusion": {"patch": halves(subject), "stride": halves(subject)},
    }.get(method, {})


def halves(subject):
    return tuple(-(-size // 2) for size in subject.size)


def explanation(subject, method, reference, row):
    """Return what is wrong with the maps of a method."""
    found = explain(subject, method, **options(subject, method))
    maps, flaws = np.asarray(found.maps), []
    expected = (len(subject.images), *subject.size, 1)
    if maps.shape != expected:
        return [f"maps have shape {maps.shape}, expected {expected}"]
    if not np.isfinite(maps).all():
        flaws.append("not finite")
    elif (np.ptp(maps.reshape(len(maps), -1), axis=1) == 0).any():
        flaws.append("constant")
    off = float(np.max(abs(found.scores[:, 0] - reference) / (abs(reference) + 1e-3 * abs(reference).max() + 1e-9)))
    if off > SCORES:
        flaws.append(f"scores are {found.scores.ravel().tolist()}, expected {reference.tolist()}")
    if "signal" in found.about:
        row["signal"] = str(found.about["signal"])
        flaws += at_signal(subject, method, row)
    elif method in WITNESSES and not flaws:
        own = WITNESSES[method](subject, reference, maps[..., 0])
        if own is not None:
            row["error"] = readings.error(*own)
    if row.get("error", 0) > TOLERANCE.get(method, 1):
        flaws.append(f"differs from the second computation by {row['error']:.1e}")
    return flaws


def decomposition(subject, method, reference, row):
    """Return what is wrong with the full-gradient decomposition: whether its parts miss the score."""
    given = {"score": subject.score} if subject.score is not None else {}
    given |= {"leaf": subject.leaf} if subject.leaf else {}
    found = ke.full_gradient_decomposition(subject.model, subject.x, subject.y, implicit=True, **given).completeness
    row["error"] = float(np.max(found.relative_gap))
    off = abs(found.scores[:, 0] - reference).max() / (abs(reference).max() + 1e-9)
    flaws = [] if row["error"] < GAP else [f"the parts miss the score by {row['error']:.1e}"]
    wrong = f"scores are {found.scores.ravel().tolist()}, expected {reference.tolist()}"
    return flaws + [wrong] * bool(off > SCORES)


def without_score(subject, method, reference, row):
    """Explain a task model without a `score`: an explanation, or an error that says what to pass."""
    found = ke.gradients(subject.model, subject.x, 0, verbose=0, **({"leaf": subject.leaf} if subject.leaf else {}))
    row["signal"] = str(found.about.get("score"))
    return []


def at_signal(subject, method, row):
    """Return what is wrong with a map of one signal: its values by hooks, and whether the signal shows the image."""
    maps = explain(subject, method, resizing=False, **options(subject, method)).maps[..., 0]
    row["grid"] = list(maps.shape[1:])
    place = Place.of(row["signal"])
    signals = subject.signals(place, subject.images) if place is not None else []
    if not signals or method not in readings.WITNESSES:
        return []
    found = readings.best(signals, maps, readings.WITNESSES[method])
    if found is None:
        return [f"no reading of {[one.values.shape for one in signals]} gives a map of {maps.shape[1:]}"]
    row["error"], signal, reading = found
    row |= {"shape": list(signal.values.shape), "reading": reading.name}
    if method != "gradcam" or row["error"] > TOLERANCE[method]:
        return []
    which = next(k for k, one in enumerate(signals) if one is signal)
    return sensible(subject, place, which, reading, signal, row)


def sensible(subject, place, which, reading, signal, row):
    """Return why a signal does not show the places of the image that the score depends on."""
    gradient, flaws = reading(signal.gradient), []
    size = abs(gradient).reshape(-1, gradient.shape[-1]).max(0)
    largest = max(abs(signal.gradient).max(), 1e-30)
    changes = readings.Changes(subject, place, which)
    row["evidence"] = changes.evidence(reading)
    if row["evidence"] is not None:
        best = max(changes.others(), default=(0, ""))
        if row["evidence"] < SENSIBLE:
            flaws.append(f"the signal's cells are not places of the image: evidence {row['evidence']:.2f}")
        elif best[0] > row["evidence"] + BETTER:
            flaws.append(f"another reading shows the image better: {best[1]}, evidence {best[0]:.2f}")
    if size.max() <= readings.SOME * largest:
        flaws.append("the signal's places have no gradient of the score")
    elif (size > readings.SOME * largest).sum() < 2:
        flaws.append(f"the signal is the scores themselves: one of {len(size)} channels has a gradient")
    row["depth"] = subject.depth(place)
    if row["depth"][0] <= EARLY * row["depth"][1]:
        flaws.append(f"the signal is before nearly all of the model: {row['depth'][0]} of {row['depth'][1]} layers")
    row["sensible"] = not flaws
    return flaws


def gradients(subject, reference, maps):
    return maps, abs(subject.gradient(subject.images)).mean(subject.channels)


def integrated(subject, reference, maps):
    """Compute the same sum of gradients, at Gauss-Legendre nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(REPETITIONS)
    ways = zip((nodes + 1) / 2, weights / 2, strict=True)
    total = sum(weight * subject.gradient((subject.images * node).astype("float32")) for node, weight in ways)
    return maps, (subject.images * total).sum(subject.channels)


def guided(subject, reference, maps):
    own = subject.guided(subject.images)
    return None if own is None else (maps, abs(own).mean(subject.channels))


def parts(subject, reference, maps):
    """Compare the sum of DeepLIFT's parts with the change of the score from black images."""
    change = reference - subject.scores(np.zeros_like(subject.images))
    return maps.reshape(len(maps), -1).sum(1), change


def occlusion(subject, reference, maps):
    """Compute the drop of the score if a half of each axis is covered with the mean colour."""
    images, own = subject.images, np.zeros_like(maps)
    axes = tuple(range(2, images.ndim)) if subject.channels_first else tuple(range(1, images.ndim - 1))
    mean = images.mean(axes, keepdims=True)
    for corner in np.ndindex(*(2,) * len(axes)):
        spot = tuple(
            slice(k * p, min((k + 1) * p, n)) for k, p, n in zip(corner, halves(subject), subject.size, strict=True)
        )
        covered = images.copy()
        where = (slice(None), *(slice(None),) * subject.channels_first, *spot)
        covered[where] = np.broadcast_to(mean, images.shape)[where]
        fall = reference - subject.scores(covered)
        own[(slice(None), *spot)] = fall.reshape(-1, *(1,) * len(axes))
    return maps, own


WITNESSES = {
    "gradients": gradients,
    "integrated_gradients": integrated,
    "guided_backprop": guided,
    "deeplift": parts,
    "occlusion": occlusion,
}
CHECKS = {"decomposition": decomposition, "without_score": without_score}
