"""What is reported about an explanation: `.about`, and notes that are shown as warnings."""

from collections.abc import Callable, Iterable
from typing import Any

from keras_explainable import models, registry
from keras_explainable.explaining.batch_step import unit_numbers
from keras_explainable.explaining.flaws import cause
from keras_explainable.models import choosing
from keras_explainable.runtime import remarks, warning


def about_of(method: Callable, view: models.View, params: dict) -> dict[str, Any]:
    """The method, its parameters, and where in the model the score and the signal were taken."""
    own = registry.traits(method).about
    params = params | (own(view, params) if own else {})
    score = _named(params.get("score"), view)
    about = {"method": getattr(method, "__name__", str(method)), **params, "score": score}
    layout = view.adapter.inputs.layout
    if layout is not None and layout.windows:
        about["window"] = layout.places(view.size)
    if not registry.takes(method, "layer"):
        return about
    signals = [view.signal(layer) for layer in params.get("layers") or [params.get("layer")]]
    about["signal"] = ", ".join(map(str, signals))
    measured = view.windows(*signals)
    if any(window and len(window) > 2 for window in measured):
        ends = [window or (0.0, 1.0) for window in measured]
        about["placement"] = tuple(
            (round(w[0] * n, 1), round(w[1] * n, 1)) for w, n in zip(ends, view.size, strict=True)
        )
    shown = [found for point in signals if (found := choosing.evidence_at(view, point))]
    if shown:
        about |= {"reading": ", ".join(str(s.reading) for s in shown), "evidence": min(s.evidence for s in shown)}
    return about


def random_note(view: models.View) -> str | None:
    """The note about a model whose output differs from run to run."""
    if not models.is_random(view.adapter, tuple(view.inputs.shape)):
        return None
    return (
        "Two runs of this model on the same image differ: it draws random numbers when it runs (a mask, dropout that "
        "is always on). Scores and maps therefore belong to one draw, and the steps of a method may use different "
        "draws. Fix the draws, for example by a seed or a noise= that the model takes."
    )


def evidence_note(about: dict[str, Any]) -> str | None:
    """The note about a layer that does not show the image."""
    if about.get("evidence", 1) >= models.POOR:
        return None
    return (
        f"The layer ({about['signal']}) hardly shows the image: when a block of an image changes, its signal changes "
        f"more at that position than elsewhere with a probability of {about['evidence']:.2f} (0.5 is chance, 1 "
        f"perfect), read as {about['reading']}. ke.inspection.signals lists the layers that do show it; without "
        "layer=, the last of these is used."
    )


def outputs_note(view: models.View) -> str | None:
    """The note if the model returns several outputs that could be scores, and none was chosen."""
    choices = [] if view.user_score is not None or view.adapter.black_box else view.choices()
    if not choices:
        return None
    first, *others = choices
    return (
        f"The model returns several outputs, and {_named(None, view)} is explained. You may have meant output "
        f"{' or '.join(others)}: choose it with score=ke.scores.output({others[0]}), or the explained one with "
        f"score=ke.scores.output({first})."
    )


def remarked(found: dict, label: str | None = None) -> dict[str, Any]:
    """The method's remarks about its maps. Its warnings are shown."""
    about: dict[str, Any] = {}
    for remark in remarks.collect(found):
        about |= remark.about
        warn(filter(None, [remark.warning]), label)
    return about


def warn(texts: Iterable[str], label: str | None = None) -> None:
    """Show texts as warnings, of one of several methods if it has a label."""
    for text in texts:
        warning.warn(text if label is None else f"{label}: {text}")


def _named(score: Any, view: models.View) -> str:
    """The name of what was explained: the call that makes a ready score, or where a unit's score is taken."""
    if score is not None:
        return "the function given" if hasattr(score, "__name__") else repr(score)
    if view.target is not None:
        return str(view.target)
    outputs, names = len(view.trace.outputs), view.trace.names
    first = f"the first of the model's {outputs} outputs" + (f", {names[0]!r}" if names else "")
    return "the model's output" if outputs == 1 else first


def cause_of(method: Callable, model: Any, params: dict, images: Any, units: Any, k: int) -> tuple[bool, str]:
    """Why a map is 0 everywhere (see `flaws.cause`)."""
    bound, images = models.bind(model, images)
    view = models.view(
        bound, images, None if units is None else unit_numbers(bound, images, units), params.get("score")
    )
    point = view.signal(params.get("layer")) if registry.takes(method, "layer") else models.INPUT
    return cause(view, point, k)
