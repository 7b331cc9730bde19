"""Find things in a trace: spatial signals, the last of them, and the layers with biases."""

from collections.abc import Iterable

from keras_explainable.errors import LayerError
from keras_explainable.models.trace import IMAGES, Call, Point, Trace


def spatial_size(shape: tuple, channels_first: bool) -> tuple:
    """The spatial sizes of a shape (batch, ...)."""
    return tuple(shape[2:] if channels_first else shape[1:-1])


def is_spatial(call: Call, rank: int) -> bool:
    """Whether a signal has the input's number of spatial axes and more than one pixel."""
    shaped = len(call.shape) == rank + 2 - bool(call.frames) and not call.of_heads
    return shaped and any(s != 1 for s in spatial_size(call.shape, call.channels_first))


def of_images(trace: Trace, call: Call) -> bool:
    """Whether a signal has the images on its first axis, and depends on them. This excludes layers without inputs, such
    as a table of positions, and windows of the images."""
    takes = bool(call.inputs) or call.holds_calls or call.operation
    return has_rows(trace, call) and takes and not trace.is_beside(call)


def has_rows(trace: Trace, call: Call) -> bool:
    """Whether a signal's first axis has a row for each image, or for each frame of each image."""
    return call.shape[:1] == (trace.images,) or call.frames > 0


def leading(trace: Trace, roots: Iterable[int]) -> frozenset[tuple[str, int]] | None:
    """The calls, by path and number, whose outputs some values depend on; None if the way from the images to them is
    not seen. Calls that make the values themselves are excluded: score maps are not features."""
    above = frozenset().union(*(trace.above(value) for value in roots)).difference(roots)
    if IMAGES not in above:
        return None
    made = (call for call in trace.calls if above.intersection(call.outputs) and not trace.is_beside(call))
    return frozenset((call.path, call.call) for call in made) or None


def spatial_calls(trace: Trace, rank: int, leads: frozenset | None = None) -> list[Call]:
    """The calls that end in a spatial signal that is not the model's output, in execution order. A layer that contains
    others counts if it makes a new output from theirs. With `leads`, only these calls."""
    ends = set(trace.outputs) if leads is None else set()  # an output that leads to the scores counts as a signal
    known, found = set(ends), []
    for call in trace.calls:
        old = ends if call.leaf else known
        wanted = leads is None or call.output[:2] in leads
        if wanted and is_spatial(call, rank) and not old.intersection(call.outputs) and of_images(trace, call):
            found.append(call)
        known.update(call.outputs)
    return found


def check_visible(trace: Trace, so: str) -> None:
    """Raise if no layer of the model can be seen."""
    if not trace.calls:
        raise LayerError(
            f"This model shows none of its layers while it runs (TorchScript does not), so {so}: give the module that "
            "it was made from, build it from layers, or explain its input, as `gradients` does."
        )


def bare_kernels(trace: Trace, rank: int, leads: frozenset | None) -> list[Call]:
    """The convolutions with weights that run outside of layers, such as `F.conv2d` and `conv.forward`."""
    calls = [c for c in spatial_calls(trace, rank, leads) if c.operation and c.kind.lower().startswith("conv")]
    return [c for c in calls if trace.beside.intersection(c.inputs)]


def last_spatial(trace: Trace, rank: int, leads: frozenset | None = None) -> Point:
    """The output of the last call in `leads` that ends in a spatial signal.

    Raises:
        LayerError: no call does.
    """
    found = spatial_calls(trace, rank, leads)
    if found:
        return found[-1].output
    check_visible(trace, "there is no signal to explain")
    shapes = ", ".join(f"{c.path} {c.shape}" for c in trace.calls if c.leaf) or "none"
    raise LayerError(
        f"No layer of this model gives a spatial signal with {rank} spatial axes of more than one pixel, which this "
        f"method needs. Its signals: {shapes}. Use a method that explains the input, such as `gradients`, or name a "
        "layer with `layer=`."
    )


def biased(trace: Trace) -> list[Call]:
    """The calls of layers that add a bias, in execution order, if the images are on the signal's first axis."""
    return [c for c in trace.calls if c.has_bias and has_rows(trace, c) and not trace.fixed.issuperset(c.outputs)]


def measured(trace: Trace, wider: Trace, score: Point | None) -> dict[tuple[str, int], tuple[list[Point], list[Point]]]:
    """The floating-point inputs and outputs of each call of a layer that contains no other calls, by (path, call).

    `wider` is the trace of twice as many images. Calls with a signal whose first axis does not grow with it are left
    out: their values belong to no image. The layer that computes the scores ends at `score`."""
    found = {}
    for call in trace.calls:
        twin = wider.at(call.output)
        if call.holds_calls or twin is None or len(twin.signals) != len(call.signals):
            continue
        pairs = zip(call.signals, twin.signals, strict=True)
        if not all(one and two[:1] == (2 * one[0],) for (_, one), (_, two) in pairs):
            continue
        ins, outs = ([p for p, _ in call.signals if p.link == link] for link in ("input", "output"))
        if score is not None and score == call.linear:
            outs = [score]
        if ins and outs:
            found[call.path, call.call] = ins, outs
    return found
