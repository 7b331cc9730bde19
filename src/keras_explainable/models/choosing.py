"""Choose the signal that a method explains: the user's, or the last one that the scores depend on and that is measured
to show the image. Also choose how its array is read as positions in the image."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras import ops

from keras_explainable import backend
from keras_explainable.errors import LayerError
from keras_explainable.models import addresses, dependencies, evidence, probes, spatial, state, tokens, windows
from keras_explainable.models.evidence import BestReading, Evidence
from keras_explainable.models.image_layout import image_layout, scale
from keras_explainable.models.inputs import sampled
from keras_explainable.models.signal_layout import Reading, SignalPoint, reading_of
from keras_explainable.models.trace import INPUT, Call, Point

Leads = frozenset[tuple[str, int]]
LATE = 0.2  # share of the layers with weights that must come before a common signal or a branch's signal
NAMED = 3  # candidates that an error names


def signal(view: Any, layer: Any = None) -> Point:
    """The one spatial signal of a view to explain: the user's `layer`, else the last exposed signal, else the default.

    A `Point` is taken as it is, even if images are so small that the signal has one pixel."""
    rank = view.rank
    given: dict = {}
    if layer is not None:
        address, given = tokens.given(layer)
        point = addresses.resolve(view.trace, view.adapter, address, functools.partial(leading, view))
    elif view.exposed:
        _, points = addresses.declared(view.trace, view.adapter, rank, lambda: view.operations)
        order = [call.output[:2] for call in view.trace.calls]
        shown = [p for p in points if p == INPUT or spatial.is_spatial(view.call(p), rank)]
        point = max(shown or points, key=lambda p: order.index(p[:2]) if p != INPUT else -1)
    else:
        return default(view)
    if point == INPUT:
        return point
    call = view.call(point) if isinstance(layer, Point) else _inside(view, view.call(point))
    point = call.output if call.path != point.path else point
    # Each trace has its own numbering of values.
    if not spatial.of_images(view.operations if call.operation else view.trace, call):
        raise LayerError(
            f"The signal of {point} has shape {call.shape} for {view.trace.images} image, and one is needed that "
            f"has the images on its first axis, and depends on them. {_signals(view)}"
        )
    if tokens.are_tokens(call, rank):
        return SignalPoint.of(point, _tokens(view, call, given))
    if not isinstance(layer, Point) and not spatial.is_spatial(call, rank):
        if layer is None or not spatial.is_spatial(call, len(call.shape) - 2):
            raise LayerError(
                f"The signal of {point} has shape {call.shape}, and one with {rank} spatial axes of more than one "
                f"pixel is needed. {_signals(view)}"
            )
        return SignalPoint.of(point, rank=len(call.shape) - 2)  # the user asked for another number of axes
    return SignalPoint.of(point, _read(view, call))


def _tokens(view: Any, call: Call, given: dict) -> Reading:
    """How a signal of tokens is read: as the user says, as measured, or by its structure."""
    found = None if given else _read(view, call)
    if found is None:
        prefix, grid = view.grid(call.shape[1], **given)
        return Reading(grid=grid, prefix=prefix)
    return found


def _read(view: Any, call: Call) -> Reading | None:
    """The reading with which a signal shows the image best; None if no measurement is needed, or if it does not show
    the image."""
    known = chosen(view)
    if call.output not in known:
        seen = None if _is_plain(view, call, ()) else measured(view)
        best = _best(view, call, seen) if seen else None
        known[call.output] = best.reading if best and best.evidence >= evidence.POOR else None
    return known[call.output]


def _best(view: Any, call: Call, seen: Evidence) -> BestReading | None:
    """The reading with which a signal shows the image best, with its tokens in any order."""
    adapter, shape = sampled(view.adapter), tuple(view.inputs.shape)
    probes.in_thread(lambda: seen.try_orders(call, adapter, shape, scale(adapter, shape)))
    return seen.best(call)


def _is_plain(view: Any, call: Call, roots: Sequence[int]) -> bool:
    """Whether nothing needs to be measured: all calls before a signal are known to keep positions in the images, and
    all calls after it, on the way to the roots, use all positions. Signals of frames, or with other axes, are not
    measured either."""
    call = view.operations.at(call.output) or call
    odd = call.frames or len(call.shape) not in (3, view.rank + 2)
    return bool(odd) or dependencies.keeps_places(view.adapter, view.operations, roots, call, view.rank)


def chosen(view: Any) -> dict[Point, Reading | None]:
    """The measured readings of the requested signals, kept with the trace."""
    return view.trace.known.setdefault("readings", {})


def leading(view: Any) -> Leads | None:
    """The calls that the scores depend on and that depend on the images."""
    return spatial.leading(view.operations, view.made_of)


def default(view: Any) -> Point:
    """The last spatial signal that the scores depend on and that shows the image."""
    key = "default", view.target, view.which, _key(view.score)
    known = view.trace.known
    if key not in known:
        known[key] = _default(view)
    return signal(view, known[key])


def _key(score: Any) -> Any:
    """A value that equals only that of the same score, and does not keep it alive."""
    return None if score is None else state.same_object(score)


def _default(view: Any) -> Point:
    leads = _features(view, leading(view))
    point, error = _suggested(view, leads)
    if point is not None and _is_plain(view, view.call(point), view.made_of):
        return _joined(view, point)
    seen = measured(view)
    candidates = [c for c in _candidates(view, leads) if seen.of(c)] if seen else []
    if seen and candidates and (point is None or seen.has(view.call(point))):
        if point is not None:
            _best(view, view.call(point), seen)
        return _shown(view, point, candidates, seen)
    if error is not None:
        raise error
    assert point is not None
    return point


def _joined(view: Any, point: Point) -> Point:
    """A plain signal; or, if it is in one of several branches, the last plain signal that lies on all paths to the
    scores. That may be the output of a layer or of an operation, such as the sum of the branches."""
    if _is_common(view, view.call(point)):
        return point
    calls = (
        c for c in view.operations.calls if spatial.is_spatial(c, view.rank) and spatial.of_images(view.operations, c)
    )
    found = [c for c in calls if _is_common(view, c) and _is_plain(view, c, view.made_of)]
    return found[-1].output if found else point


def _suggested(view: Any, leads: Leads | None) -> tuple[Point | None, LayerError | None]:
    try:
        return proposed(view, leads), None
    except LayerError as error:
        return None, error


def _shown(view: Any, point: Point | None, candidates: list[Call], seen: Evidence) -> Point:
    """The candidate that the structure suggests, if it shows the image and its positions affect the scores; else the
    last such candidate that lies on all paths (no projection, no side branch)."""
    best = {c.output: seen.of(c)[0] for c in candidates}
    value = view.call(point).outputs[:1] if point is not None else ()
    passing = [c for c in candidates if _passes(best[c.output], c, c.outputs[:1] == value)]
    alive = _alive(view, {c.output: best[c.output].reading for c in passing})
    passing = [c for c in passing if c.output in alive]
    if not passing:
        _raise_none(best)
    common = [c for c in passing if _is_common(view, c)]
    late = common or [c for c in passing if _is_late(view, _in_operations(view, c).outputs[0])]
    fits = [c for c in late or passing if c.outputs[:1] == value]
    taken = fits or common or _trunk(view, passing) or passing
    point = point if fits and point is not None else taken[-1].output
    chosen(view)[point] = best[taken[-1].output].reading
    return point


def _passes(shown: BestReading, call: Call, suggested: bool) -> bool:
    return shown.evidence >= _enough(shown, suggested, shown.reading.size(call.shape))


def _trunk(view: Any, calls: list[Call]) -> list[Call]:
    """Of calls in branches, those that give features and are not in the last part of the model (the heads)."""
    trace, kernels = view.operations, dependencies.kernels(view.operations, view.made_of)
    above = [trace.above(value) for value in kernels]
    values = ((c, (trace.at(c.output) or c).outputs[0]) for c in calls)
    found = [c for c, value in values if sum(value in one for one in above) >= LATE * len(kernels)]
    features = [c for c in found if c.holds_calls or "norm" in c.kind.lower()]
    return features or [c for c in found if spatial.is_spatial(c, view.rank)]


def _enough(shown: BestReading, suggested: bool, size: tuple) -> float:
    """The evidence that a signal needs. It is higher for a signal of few cells, some of which change most by chance."""
    if suggested and shown.usual:
        return evidence.LIKELY
    return evidence.ENOUGH if math.prod(size) >= evidence.FEW else evidence.SURE


def _features(view: Any, leads: Leads | None) -> Leads | None:
    """If the scores are maps themselves: of the calls that lead to them, those with weights after them. The others are
    already scores, of smaller images."""
    trace = view.operations
    made = [call for call in map(trace.producer, view.made_of) if call]
    if leads is None or not any(len(call.shape) > 2 for call in made):
        return leads
    weighted_values = dependencies.weighted(trace, view.made_of)
    weighted = (c.output[:2] for c in trace.calls if weighted_values.intersection(c.outputs))
    return leads.intersection(weighted) or leads


def _is_common(view: Any, call: Call) -> bool:
    """Whether all paths to the scores pass through a call's output (or a normalisation's input), after enough of the
    model's layers with weights."""
    trace, known = view.operations, view.operations.known
    key = "common", view.made_of
    if key not in known:
        known[key] = dependencies.common(trace, view.made_of)
    norm, seen = "norm" in call.kind.lower() and not call.holds_calls, _in_operations(view, call)
    values = known[key].intersection((*seen.outputs[:1], *(seen.inputs[:1] if norm else ())))
    return any(_is_late(view, value) for value in values)


def _in_operations(view: Any, call: Call) -> Call:
    """The call in the trace with operations, which has its own numbering of values."""
    return view.operations.at(call.output) or call


def _is_late(view: Any, value: int) -> bool:
    """Whether enough of the model's layers with weights come before a value."""
    trace, known = view.operations, view.operations.known
    key = "kernels", view.made_of
    if key not in known:
        known[key] = dependencies.kernels(trace, view.made_of)
    return len(known[key] & trace.above(value)) >= LATE * len(known[key])


def proposed(view: Any, leads: Leads | None) -> Point:
    """The signal that the model's structure suggests, among the calls that lead to the scores."""
    trace, rank = view.trace, view.rank
    common = functools.partial(_is_common, view)
    last = tokens.last_tokens(trace, rank, lambda: view.attended, lambda: view.operations, leads, common)
    bare = spatial.bare_kernels(view.operations, rank, leads)
    if last is not None or not bare:
        return spatial.last_spatial(trace, rank, leads) if last is None else last.output
    order = [call.output for call in view.operations.calls]
    layers = spatial.spatial_calls(trace, rank, leads)
    return max((c.output for c in (*layers[-1:], bare[-1])), key=order.index)


def _candidates(view: Any, leads: Leads | None) -> list[Call]:
    """The calls that could be chosen, in execution order."""
    trace, rank = view.trace, view.rank
    found = [c for c in trace.calls if tokens.are_tokens(c, rank) and spatial.of_images(trace, c)]
    found += spatial.spatial_calls(trace, rank, leads) + spatial.bare_kernels(view.operations, rank, leads)
    order = {call.output: i for i, call in enumerate(view.operations.calls)}
    found = [c for c in found if (leads is None or c.output[:2] in leads) and not c.frames]
    found.sort(key=lambda call: order.get(call.output, -1))
    innermost = {call.outputs[0]: call for call in reversed(found)}.values()
    return sorted(innermost, key=lambda call: order.get(call.output, -1))


def measured(view: Any) -> Evidence | None:
    """What the model's signals show, measured once; None if it cannot be measured."""
    known = view.trace.known
    if "evidence" not in known:
        shape = tuple(view.inputs.shape)
        adapter, calls = sampled(view.adapter), _candidates(view, None)
        image = spatial.spatial_size(shape, adapter.channels_first)
        grids = functools.partial(tokens.grids, view.trace, image)
        image_layout(adapter, shape)  # this measures the scale
        measure = functools.partial(evidence.measured, adapter, shape, calls, scale(adapter, shape), grids)
        moved = adapter.inputs.layout is not None and adapter.inputs.layout.moved
        fits = view.trace.images == 1 and view.rank in evidence.BLOCKS and not moved
        known["evidence"] = probes.in_thread(measure) if fits else None
    return known["evidence"]


def _alive(view: Any, readings: dict[Point, Reading]) -> frozenset[Point]:
    """The points at whose positions a gradient of the scores arrives; all points if there is no gradient at all."""

    def measure() -> frozenset[Point]:
        def total(point: Point, gradient: Any) -> Any:
            return ops.reshape(ops.sum(ops.abs(readings[point].channels_last(gradient))), (1,))

        found = _of_mixture(windows.probe(view, 1), [*readings], total)
        return frozenset(p for p, value in found.items() if float(value[0, 0]) > 0)

    return (probes.in_thread(measure) if readings else None) or frozenset(readings)


def _of_mixture(view: Any, at: Sequence[Point], reduce: Callable) -> dict[Point, Any]:
    """`reduce(point, gradient)` for the gradient of a mixture of all scores at each point, in the model's layout. Empty
    if no gradient reaches any point."""
    run = view.runner(at)

    def mixture(x: Any, tap: Callable) -> Any:
        scores = run(x, tap)
        return ops.sum(scores * ops.cos(1.0 + ops.arange(scores.shape[-1], dtype="float32")), -1, keepdims=True)

    gradients, with_gradient = backend.jacobian(mixture, view.inputs, [*at], lambda p, g, _: reduce(p, g), ())[2:]
    return gradients if with_gradient else {}


def _raise_none(seen: dict[Point, BestReading]) -> None:
    """Raise: no signal shows the image and affects the score. Name the best ones."""
    best = sorted(seen.items(), key=lambda pair: -pair[1].evidence)[:NAMED]
    names = "; ".join(f"{point}: {shown.evidence:.2f} as {shown.reading}" for point, shown in best)
    raise LayerError(
        "No layer of this model was found to show the image at positions that affect the score: when a block of an "
        "image changes, the layer's signal should change most at that position. The best layers, where "
        f"{evidence.ENOUGH} is enough and 0.5 is chance: {names}. Use a method that explains the input, such as "
        "`gradients`, or name a layer with `layer=`."
    )


@dataclass(frozen=True)
class Signal(Call):
    """A call of a layer, and what its output shows of the image."""

    reading: Reading | None = field(default=None, compare=False)  # the best way to read it as positions in the image
    evidence: float | None = field(default=None, compare=False)  # how well it shows them: 0.5 is chance, 1 perfect
    reaches: bool | None = field(default=None, compare=False)  # whether the score depends on it, at these positions


def signals(view: Any) -> list[Signal]:
    """All calls of a model's layers, with what was measured of them."""
    seen, leads = measured(view), leading(view)
    best = {c.output: shown for c in view.trace.calls if seen and c.outputs and (shown := seen.best(c))}
    alive = _alive(view, {point: shown.reading for point, shown in best.items()})
    made = []
    for call in view.trace.calls:
        found = best.get(call.output)
        reading, value = (found.reading, found.evidence) if found else (None, None)
        leads_to = None if leads is None else call.output[:2] in leads
        reaches = call.output in alive if found and leads_to else leads_to
        made.append(Signal(**vars(call), reading=reading, evidence=value, reaches=reaches))
    return made


def evidence_at(view: Any, point: Point) -> BestReading | None:
    """What was measured of the signal at a point; None if nothing was."""
    seen = view.trace.known.get("evidence")
    found = seen.of(view.call(point)) if seen and point != INPUT else []
    read = [one for one in found if one.reading == reading_of(point)]
    return next(iter(read or found), None)


def _inside(view: Any, call: Call) -> Call:
    """The call itself, or, if it gives no spatial signal, the last call inside it that gives signals of frames."""
    if not call.holds_calls or spatial.is_spatial(call, view.rank):
        return call
    calls = (c for c in spatial.spatial_calls(view.trace, view.rank) if c.frames)
    inside = [c for c in calls if c.path.startswith(call.path + view.adapter.separator)]
    return inside[-1] if inside else call


def _signals(view: Any) -> str:
    found = ", ".join(c.path for c in spatial.spatial_calls(view.trace, view.rank))
    return f"Such signals: {found}." if found else "The model shows none."
