"""Which points a run passed through, and where the gradient ends on its way from the scores to the images."""

from collections.abc import Container, Iterable, Sequence
from typing import Any

from keras import ops

from keras_explainable import backend
from keras_explainable.errors import LayerError
from keras_explainable.models import spatial
from keras_explainable.models.trace import INPUT, Point


def check_seen(view: Any, at: Iterable[Point], seen: Container[Point]) -> None:
    """Raise if the model did not pass through a point."""
    missing = [str(p) for p in at if p not in seen]
    if missing:
        raise LayerError(
            f"The model did not pass through {', '.join(missing)} on images of shape {tuple(view.inputs.shape)}."
        )


def check_reached(view: Any, at: Sequence[Point], lit: Container[Point]) -> None:
    """Raise if no gradient reaches the images, or any of the signals, from the scores. It reaches the points `lit`."""
    dark = view.trace.known.get("dark", ())
    if (INPUT in lit if INPUT in at else any(p in lit for p in at)) and not any(p[:2] in dark for p in at):
        return
    asked = "the images" if INPUT in at else ", ".join(map(str, at))
    raise LayerError(
        f"No gradient goes from the score to {asked}: it ends at {_cut(view)}. Use a method without gradients "
        "(such as `occlusion`, `rise` or `scorecam`), or change the model so that all operations from the images "
        "to the score have a gradient."
    )


def _cut(view: Any) -> str:
    """Where the gradient ends."""
    leads = spatial.leading(view.operations, view.roots) or frozenset()
    dark = view.operations.known.get("dark", ())
    calls = [c for c in view.operations.calls if not c.holds_calls]
    for call in calls:
        if call.output[:2] in dark:
            return f"{call.path} ({call.kind}), which runs where gradients are switched off (as by torch.no_grad)"
    calls = [c for c in calls if c.output[:2] in leads] + [c for c in calls if set(c.outputs) & set(view.roots)]
    at = [c.output for c in calls if c.output in dict(c.signals)]
    lit = backend.jacobian(view.runner(at), view.inputs, at, lambda *_: ops.zeros((1,)), False)[3] if at else ()
    first = next((c for c in calls if c.output in lit), calls[-1] if calls else None)
    return f"{first.path} ({first.kind})" if first else "an operation that cannot be seen"
