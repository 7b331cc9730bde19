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


def check_reached(view: Any, at: Sequence[Point], with_gradient: Container[Point]) -> None:
    """Raise if no gradient reaches the images, or any of the signals, from the scores. `with_gradient` are the points
    that it reaches."""
    no_grad = view.trace.known.get("no_grad", ())
    wanted = [INPUT] if INPUT in at else at
    if any(p in with_gradient for p in wanted) and not any(p[:2] in no_grad for p in at):
        return
    targets = "the images" if INPUT in at else ", ".join(map(str, at))
    raise LayerError(
        f"No gradient goes from the score to {targets}: it ends at {_cut(view)}. Use a method without gradients "
        "(such as `occlusion`, `rise` or `scorecam`), or change the model so that all operations from the images "
        "to the score have a gradient."
    )


def _cut(view: Any) -> str:
    """Where the gradient ends."""
    leads = spatial.leading(view.operations, view.roots) or frozenset()
    no_grad = view.operations.known.get("no_grad", ())
    calls = [c for c in view.operations.calls if not c.holds_calls]
    for call in calls:
        if call.output[:2] in no_grad:
            return f"{call.path} ({call.kind}), which runs where gradients are switched off (as by torch.no_grad)"
    calls = [c for c in calls if c.output[:2] in leads] + [c for c in calls if set(c.outputs) & set(view.roots)]
    at = [c.output for c in calls if c.output in dict(c.signals)]
    with_gradient: Container[Point] = ()
    if at:
        with_gradient = backend.jacobian(view.runner(at), view.inputs, at, lambda *_: ops.zeros((1,)), ())[3]
    first = next((c for c in calls if c.output in with_gradient), calls[-1] if calls else None)
    return f"{first.path} ({first.kind})" if first else "an operation that cannot be observed"
