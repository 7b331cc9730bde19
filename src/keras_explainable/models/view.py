"""What a method sees: a model on a batch of images, the units to explain, and all signals with channels last."""

import copy
import functools
from collections.abc import Callable, Container, Iterable, Sequence
from functools import cached_property
from typing import Any

from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError, LayerError
from keras_explainable.models import addresses, biases, black_box, choosing, linear, spatial, tokens, windows
from keras_explainable.models.contract import Adapter
from keras_explainable.models.evidence import Shown
from keras_explainable.models.front import front, placed
from keras_explainable.models.operations import Step, steps
from keras_explainable.models.overrides import Overrides
from keras_explainable.models.score import Score, chooses, chosen_of
from keras_explainable.models.scored import Scored
from keras_explainable.models.signal_layout import NONE, Readings, readings_of
from keras_explainable.models.trace import INPUT, Point


class View(Scored):
    """A model on a batch of images, and the units to explain.

    Args:
        adapter: the adapter of the model.
        inputs: images (B, *S, C), or (B, C, *S) if the model takes channels first. They are cast to float32.
        indices: the units: an int, (B,) or (B, K) integers, or None for every unit.
        score: a function from the model's unmodified outputs to scores (B, K), which replace the units. If it has
            `before_activation` set, it gets the values before the last softmax or sigmoid. If it has
            `choose(scores)`, it only chooses units, or columns of the score in its attribute `of`.
        model: the model as the user gave it.
    """

    def __init__(
        self, adapter: Adapter, inputs: Any, indices: Any = None, score: Score | None = None, model: Any = None
    ) -> None:
        self.model = model  # as the user gave it, for methods that take a model
        self.user_score = score  # the score as the user gave it
        images = adapter.images(inputs)
        self.rank = len(images.shape) - 2
        if self.rank < 1:
            raise InputError(
                f"Images of shape {tuple(images.shape)} came, and (batch, *space, channels) was expected: "
                "add the missing axis, as in x[None]."
            )
        adapter.build(images)
        if adapter.inputs.front is None and not front(adapter, tuple(images.shape)).plain:
            raise InputError(
                f"Images of shape {tuple(images.shape)} came, and this model takes their channels from another axis, "
                "crops or pads them, or folds an axis into the batch: call the method through ke.explain, which "
                "handles this."
            )
        super().__init__(adapter, images, indices, score)
        if chooses(score):  # on the unmodified images, so that perturbed copies are explained for the same units
            self.score = chosen_of(score)
            self.indices = score.choose(self.evaluate()[0]) if indices is None else indices

    @property
    def x(self) -> Any:
        """The images with channels last."""
        return self._last(INPUT, self.inputs, 1)

    @property
    def batch(self) -> Any:
        """The number of images."""
        return ops.shape(self.inputs)[0]

    @property
    def size(self) -> tuple:
        """The spatial size of the images."""
        return tuple(spatial.spatial_size(ops.shape(self.inputs), self.adapter.channels_first))

    @property
    def space(self) -> tuple[int, ...]:
        """The spatial axes of a Jacobian (B, K, *S, C)."""
        return tuple(range(2, 2 + self.rank))

    def resized(self, maps: Any, *at: Point, axis: int = 1, align_corners: bool = False) -> Any:
        """Resize maps (..., *S', ...) of a hidden signal to the images' size (see `laid`)."""
        return placed(self.adapter.inputs.front, self.size, maps, None, axis, self.windows(*at), align_corners)

    def to_image_size(self, maps: Any, size: Any = None, axis: int = 1, windows: Any = None) -> Any:
        """Resize maps to the images' size or to another `size`. Maps of a hidden signal are placed in its `windows`."""
        return placed(self.adapter.inputs.front, self.size, maps, size, axis, windows)

    def windows_of(self, layer: Any = None, layers: Sequence | None = None) -> tuple:
        """The `windows` of the signal of a method's `layer`, or of its `layers`."""
        return self.windows(*(self.signal(one) for one in layers or [layer]))

    def windows(self, *at: Point) -> tuple:
        """Where the cells of a signal begin and end along each axis of the images (see `placement`). For several
        signals or none, where the part that the model sees begins and ends."""
        return windows.of_signal(self, *at)

    def signal(self, layer: Any = None) -> Point:
        """The one spatial signal to explain (see `choosing.signal`)."""
        return choosing.signal(self, layer)

    def shown(self, point: Point) -> Shown | None:
        """How well a signal shows the image, if this was measured."""
        return choosing.shown(self, point)

    def grid(self, count: int, prefix: int | None = None, grid: Sequence[int] | None = None) -> tuple[int, tuple]:
        """How many tokens come before those of the image, and the sizes (*S') of the grid that the others form."""
        image = spatial.spatial_size(tuple(self.inputs.shape), self.adapter.channels_first)
        return tokens.grid(self.trace, image, count, prefix, grid)

    def attentions(self) -> list[Point]:
        """The points of the attention probabilities (B, heads, T, T) among the model's tokens, in execution order.

        Raises:
            LayerError: there are none, or they do not all have the same tokens.
        """
        if self.adapter.black_box:
            black_box.refuse()
        tokens.check_attentions(self.attended)
        return list(self.attended)

    @cached_property
    def attended(self) -> dict[Point, tuple]:
        """The points and shapes of all attention probabilities, except those that depend only on other inputs."""
        found = self.adapter.attentions((1, *self.inputs.shape[1:]), "float32")
        if not self.trace.constants:
            return found
        calls = {point: self.operations.at(point) for point in found}
        return {p: found[p] for p, call in calls.items() if call is None or not self.operations.is_beside(call)}

    def biased(self) -> list[Point]:
        """The points after each bias, in execution order: in the exposed layers if there are any, else in all."""
        spatial.check_shown(self.operations, "its biases cannot be found")
        calls = biases.biased(self.operations, self.adapter.separator)
        if self.adapter.signals is not None:
            _, points = addresses.declared(self.trace, self.adapter, self.rank, lambda: self.operations)
            calls = [c for c in calls if c.path in {p.path for p in points}]
        return [c.linear for c in calls]

    def biases(self, points: Iterable[Point]) -> dict[Point, Any]:
        """The current bias of each channel at such points."""
        calls = {p: self.operations.at(p) for p in points}
        bare = {p: biases.constant(self.operations, call) for p, call in calls.items() if call and call.operation}
        seen = self.evaluate([*bare.values()])[1] if bare else {}
        found = {p: seen[at][(0,) * (len(seen[at].shape) - 1)] for p, at in bare.items()}
        return {p: found[p] if p in found else ops.cast(self.adapter.bias(p.path), "float32") for p in calls}

    @property
    def folds(self) -> bool:
        """Whether the model folds an axis of its images into the batch."""
        front = self.adapter.inputs.front
        return front is not None and front.frames > 0 and not front.series

    def frames(self, point: Point) -> int:
        """How many frames a signal has, if the model sees them one by one, else 0."""
        return 0 if point == INPUT else self.call(point).frames

    def is_spatial(self, point: Point) -> bool:
        return spatial.is_spatial(self.call(point), self.rank)

    def of(self, inputs: Any, indices: Any = None) -> "View":
        """The same model and score on other images. `indices` are the units to explain, None for every unit."""
        shape = tuple(inputs.shape[1:])
        if None in shape or shape != tuple(self.inputs.shape[1:]):
            return View(self.adapter, inputs, indices, self.user_score, self.model)
        other = copy.copy(self)
        other.inputs, other.indices = self.adapter.images(inputs), indices
        return other

    def unit_count(self) -> int:
        """How many units, or columns of the given score, there are to choose from."""
        whole = self._of_units and not self.which
        if self.adapter.black_box or not whole:  # only a call can tell
            return View(self.adapter, self.inputs[:1], score=self.score).evaluate()[0].shape[-1]
        target = self.target
        shape = self.call(target).shape if target and not self._skipped else self.trace.head_shape()
        return (shape if self.score is None else self.score(ops.zeros(shape)).shape)[-1]

    def jacobian(
        self, at: Sequence[Point], reduce: Callable | None = None, keep: bool = True, overrides: Overrides | None = None
    ) -> tuple:
        """Scores (B, K), the signals (B, *S', C) at the points `at`, and each unit's gradients (B, K, *S', C) there.

        `reduce(point, gradient)` is applied to each gradient (B, *S', C) of one unit as soon as it is computed, and its
        result is kept instead. If `keep` is false, no signals are returned. `overrides` replaces gradients by rules."""

        whole = set(at).difference(p for p in at if self.parts(p, at))

        readings = readings_of(at)

        def last(point, gradient, value):
            gradient = self._last(point, gradient, 1, readings)
            return gradient if reduce is None or point not in whole else reduce(point, gradient)

        every = [q for p in at for q in self.parts(p, at) or (p,)]
        run = self._run(every, overrides=overrides)
        scores, values, gradients, reached = backend.jacobian(run, self.inputs, every, last, keep)
        self._check_seen(every, gradients)
        self._check_reached(every, reached)
        seen = self._joined(at, {p: self._float(p, v, readings) for p, v in values.items()}, 1) if keep else {}
        found = self._joined(at, gradients, 2)
        for point in set(at) - whole if reduce is not None else ():
            units = range(found[point].shape[1])
            found[point] = ops.stack([reduce(point, found[point][:, k]) for k in units], axis=1)  # type: ignore[misc]
        return scores, seen, found

    def parts(self, point: Point, at: Sequence[Point]) -> tuple[Point, ...]:
        """The points that one of the points `at` stands for: those of all frames, if it belongs to one frame and `at`
        has none of the other frames. Empty otherwise."""
        call = self.trace.at(point) if point != INPUT else None
        if call is None or not call.series or any(p[::2] == point[::2] and p != point for p in at):
            return ()
        return tuple(point._replace(call=i) for i in range(call.frames))

    def _joined(self, at: Sequence[Point], found: dict, axis: int) -> dict:
        """Stack what was found at the points of each frame."""
        parts = {p: self.parts(p, at) for p in at}
        return {p: ops.stack([found[q] for q in parts[p]], axis=axis) if parts[p] else found[p] for p in at}

    def mixed(self, at: Sequence[Point], reduce: Callable) -> dict[Point, Any]:
        """`reduce(point, gradient)` for the gradient of a mixture of all scores at each point, in the model's layout.
        Empty if no gradient reaches any point."""
        run = self._run(at)

        def mixture(x: Any, tap: Callable) -> Any:
            scores = run(x, tap)
            return ops.sum(scores * ops.cos(1.0 + ops.arange(scores.shape[-1], dtype="float32")), -1, keepdims=True)

        gradients, reached = backend.jacobian(mixture, self.inputs, [*at], lambda p, g, _: reduce(p, g), False)[2:]
        return gradients if reached else {}

    def looked_at(self, point: Point, mixtures: Any) -> Any:
        """The gradients (P, *image) of sum(signal * mixture), with `mixtures` (P, *S', C), one for each of P images."""

        def run(x: Any, tap: Callable) -> Any:
            seen: dict[Point, Any] = {}

            def see(at: Point, value: Any) -> Any:
                seen[at] = tap(at, value)
                return seen[at]

            self.adapter.run(x, see, frozenset([INPUT, point]))
            values = self._float(point, seen[point], readings_of([point])) * mixtures
            return ops.sum(ops.reshape(values, (self.inputs.shape[0], -1)), axis=-1, keepdims=True)

        return backend.jacobian(run, self.inputs, [INPUT], lambda p, g, _: self._last(p, g, 1), False)[2][INPUT][:, 0]

    def products(self, at: Sequence[Point], combine: Callable | None = None) -> tuple:
        """Scores (B, K), and <dscore/dsignal, signal> (B, K) or `combine(gradient, signal)` at each point. The gradient
        at the input of a layer is the one through this layer only."""

        readings = readings_of(at)

        def inner(point, gradient, value):
            if combine is not None:
                return combine(self._float(point, gradient, readings), self._float(point, value, readings))
            return ops.sum(ops.reshape(gradient * ops.cast(value, "float32"), (self.batch, -1)), axis=-1)

        scores, _, products, reached = backend.jacobian(self._run(at), self.inputs, list(at), inner, True)
        self._check_seen(at, products)
        self._check_reached(at, reached)
        return scores, products

    def layers(self) -> dict[tuple[str, int], tuple[list[Point], list[Point]]]:
        """The inputs and outputs of each call of a layer that contains no other calls (see `spatial.measured`)."""
        wider = self.adapter.trace((2, *self.inputs.shape[1:]), "float32")
        return spatial.measured(self.trace, wider, self.target)

    def evaluate(self, at: Sequence[Point] = (), inputs: Any = None, replace: dict | None = None) -> tuple:
        """Scores (B, K) and the signals at the points `at`, without gradients. `inputs` are other images to run on.

        `replace` {point: function} runs the model with `function(signal)` (B, *S', C) in place of these signals."""
        if any(self.parts(p, ()) for p in replace or ()):
            raise LayerError("Each frame runs in a call of its own, so a signal of all frames cannot be replaced.")
        every = [q for p in at for q in self.parts(p, at) or (p,)]
        scores, values = backend.evaluate(self._run(every, replace), self.inputs if inputs is None else inputs)
        self._check_seen(every, values)
        readings = readings_of(at)
        return scores, self._joined(at, {p: self._float(p, v, readings) for p, v in values.items()}, 1)

    def _check_reached(self, at: Sequence[Point], reached: Container[Point]) -> None:
        """Raise if no gradient reaches the images, or any of the signals, from the scores."""
        dark = self.trace.known.get("dark", ())
        if (INPUT in reached if INPUT in at else any(p in reached for p in at)) and not any(p[:2] in dark for p in at):
            return
        asked = "the images" if INPUT in at else ", ".join(map(str, at))
        raise LayerError(
            f"No gradient goes from the score to {asked}: it ends at {self._cut()}. Use a method without gradients "
            "(such as `occlusion`, `rise` or `scorecam`), or change the model so that all operations from the images "
            "to the score have a gradient."
        )

    def _cut(self) -> str:
        """Where the gradient ends on its way from the scores to the images."""
        leads = spatial.leading(self.operations, self.roots) or frozenset()
        dark = self.operations.known.get("dark", ())
        calls = [c for c in self.operations.calls if not c.holds_calls]
        for call in calls:
            if call.output[:2] in dark:
                return f"{call.path} ({call.kind}), which runs where gradients are switched off (as by torch.no_grad)"
        calls = [c for c in calls if c.output[:2] in leads] + [c for c in calls if set(c.outputs) & set(self.roots)]
        at = [c.output for c in calls if c.output in dict(c.signals)]
        reached = backend.jacobian(self._run(at), self.inputs, at, lambda *_: ops.zeros((1,)), False)[3] if at else ()
        first = next((c for c in calls if c.output in reached), calls[-1] if calls else None)
        return f"{first.path} ({first.kind})" if first else "an operation that cannot be seen"

    def steps(self, stop: Point | None = None) -> tuple[Step, ...]:
        """The calls between the images, or the signal at `stop`, and the scores (see `operations.steps`)."""
        if self.adapter.black_box:
            black_box.refuse()
        known, key = self.operations.known, ("steps", self.target, stop, self.roots)
        if key not in known:
            shape = (self.operations.images, *self.inputs.shape[1:])
            still = functools.partial(linear.still, self.adapter, self.operations, shape)
            known[key] = tuple(steps(self.adapter, self.operations, self.target, stop, self.roots, still))
        return known[key]

    def tried(self, steps: Sequence[Step]) -> dict[tuple[str, int], str]:
        """Which of these calls are linear in the values that come from the images (see `linear.tried`)."""
        shape = (self.operations.images, *self.inputs.shape[1:])
        return linear.tried(self.adapter, self.operations, shape, steps) if steps else {}

    def summing(self, steps: Sequence[Step]) -> dict[tuple[str, int], int | None]:
        """The axis along which the output of each of these calls sums to 1 (see `linear.summing`)."""
        shape = (self.operations.images, *self.inputs.shape[1:])
        return linear.summing(self.adapter, self.operations, shape, steps) if steps else {}

    def _run(self, at: Sequence[Point], replace: dict | None = None, overrides: Overrides | None = None) -> Callable:
        if at and self.adapter.black_box:
            black_box.refuse()
        target, replace = self.target, replace or {}
        readings = readings_of(replace)
        rewired = overrides.points if overrides else ()
        skipped = self._skipped
        ends, outs = dict(skipped), {out: end for end, out in skipped}
        points = frozenset((*at, *replace, *rewired, *ends, *outs, *([target] if target else [])))

        def run(x, tap):
            seen = {}
            rewire = overrides.start() if overrides else None
            waiting = set(rewired)

            def see(point, value):
                if point in replace:
                    value = self._replaced(point, value, replace[point], readings)
                if rewire:
                    waiting.discard(point)
                    value = rewire(point, value)
                value = tap(point, value)
                if point == target or point in ends:  # copied, since the softmax may work in place
                    seen[point] = ops.copy(value) if point.link == "input" else value
                return seen[outs[point]] if point in outs else value

            outputs = self.adapter.run(x, see, points, strict=len(at) > 1, rules=overrides is not None)
            self._check_seen(waiting, ())
            return self._scores(seen[target] if target and not skipped else outputs, x.shape[0])

        return run

    def _float(self, point: Point, value: Any, readings: Readings = NONE) -> Any:
        return self._last(point, ops.cast(value, "float32"), 1, readings)

    def _last(self, point: Point, value: Any, axis: int, readings: Readings = NONE) -> Any:
        """A signal with its channels moved from `axis` to the end, or as its reading says if it has one."""
        if point in readings:
            return readings[point].channels_last(value)
        value = ops.moveaxis(value, axis, -1) if self._first(point) else value
        return self.adapter.inputs.front.apart(value) if self._in_batch(point) else value

    def _in_batch(self, point: Point) -> bool:
        """Whether the rows of a signal are frames of the images, not images."""
        call = self.trace.at(point) if point != INPUT else None
        return call is not None and call.frames > 0 and not call.series

    def in_layout(self, point: Point, value: Any) -> Any:
        """A signal (B, *S', C) in the model's own layout."""
        value = self.adapter.inputs.front.together(value) if self._in_batch(point) else value
        return ops.moveaxis(value, -1, 1) if self._first(point) else value

    def _first(self, point: Point) -> bool:
        """Whether a signal has channels first in the model's own layout."""
        if point == INPUT:
            return self.adapter.channels_first
        return point.link != "attention" and self.call(point).channels_first

    def _replaced(self, point: Point, value: Any, function: Callable, readings: Readings) -> Any:
        new = ops.cast(function(self._last(point, value, 1, readings)), value.dtype)
        reading = readings.get(point)
        return reading.restored(new, value) if reading else self.in_layout(point, new)

    def _check_seen(self, at: Iterable[Point], seen: Container[Point]) -> None:
        missing = [str(p) for p in at if p not in seen]
        if missing:
            raise LayerError(
                f"The model did not pass through {', '.join(missing)} on images of shape {tuple(self.inputs.shape)}."
            )
