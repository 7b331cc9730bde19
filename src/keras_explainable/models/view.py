"""What a method sees: a model on a batch of images, the units to explain, and all signals with channels last."""

import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError, LayerError
from keras_explainable.models import (
    biases,
    black_box,
    choosing,
    linear,
    reachability,
    signal_layout,
    spatial,
    tokens,
    windows,
)
from keras_explainable.models.contract import Adapter
from keras_explainable.models.image_layout import image_layout, placed
from keras_explainable.models.operations import Step, steps
from keras_explainable.models.overrides import Overrides
from keras_explainable.models.requests import Pass
from keras_explainable.models.score import Score, chooses, chosen_of
from keras_explainable.models.scored import Scored
from keras_explainable.models.sharing import Answers, ask
from keras_explainable.models.signal_layout import readings_of
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
        self.answers: Answers | None = None  # of passes that are shared with other methods
        images = adapter.images(inputs)
        self.rank = len(images.shape) - 2
        if self.rank < 1:
            raise InputError(
                f"Images of shape {tuple(images.shape)} came, and (batch, *space, channels) was expected: "
                "add the missing axis, as in x[None]."
            )
        adapter.build(images)
        if adapter.inputs.layout is None and not image_layout(adapter, tuple(images.shape)).plain:
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
        return signal_layout.channels_last(self, INPUT, self.inputs)

    @property
    def batch(self) -> Any:
        """The number of images."""
        return ops.shape(self.inputs)[0]

    @property
    def size(self) -> tuple:
        """The spatial size of the images."""
        return tuple(spatial.spatial_size(ops.shape(self.inputs), self.adapter.channels_first))

    def resized(self, maps: Any, *at: Point, axis: int = 1, align_corners: bool = False) -> Any:
        """Resize maps (..., *S', ...) of a hidden signal to the images' size (see `to_image_size`)."""
        return placed(self.adapter.inputs.layout, self.size, maps, None, axis, self.windows(*at), align_corners)

    def to_image_size(self, maps: Any, size: Any = None, axis: int = 1, windows: Any = None) -> Any:
        """Resize maps to the images' size or to another `size`. Maps of a hidden signal are placed in its `windows`."""
        return placed(self.adapter.inputs.layout, self.size, maps, size, axis, windows)

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
        found = self.adapter.attentions((1, *self.inputs.shape[1:]))
        if not self.trace.constants:
            return found
        calls = {point: self.operations.at(point) for point in found}
        return {p: found[p] for p, call in calls.items() if call is None or not self.operations.is_beside(call)}

    def biased(self) -> list[Point]:
        """The points after each bias, in execution order: in the exposed layers if there are any, else in all."""
        return biases.points(self)

    def biases(self, points: Iterable[Point]) -> dict[Point, Any]:
        """The current bias of each channel at such points."""
        return biases.current(self, points)

    def of(self, inputs: Any, indices: Any = None) -> "View":
        """The same model and score on other images. `indices` are the units to explain, None for every unit."""
        shape = tuple(inputs.shape[1:])
        if None in shape or shape != tuple(self.inputs.shape[1:]):
            return View(self.adapter, inputs, indices, self.user_score, self.model)
        other = self.sharing(None)
        other.inputs, other.indices = self.adapter.images(inputs), indices
        return other

    def sharing(self, answers: Answers | None) -> "View":
        """The same view for one of several methods, which gets its passes from `answers` (see `models.sharing`)."""
        other = copy.copy(self)
        other.answers = answers
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

        whole = set(at).difference(p for p in at if signal_layout.parts(self.trace, p, at))
        readings = readings_of(at)

        def column(point, gradient, _):
            gradient = signal_layout.channels_last(self, point, gradient, readings)
            return gradient if reduce is None or point not in whole else reduce(point, gradient)

        same = ("gradient", *readings.items()) if reduce is None else None
        scores, values, gradients = ask(self, Pass(self._every(at), column, keep, overrides, same))
        seen = signal_layout.signals(self, at, values) if keep else {}
        found = signal_layout.joined(self.trace, at, gradients, 2)
        for point in set(at) - whole if reduce is not None else ():
            units = range(found[point].shape[1])
            found[point] = ops.stack([reduce(point, found[point][:, k]) for k in units], axis=1)  # type: ignore[misc]
        return scores, seen, found

    def products(self, at: Sequence[Point], combine: Callable | None = None) -> tuple:
        """Scores (B, K), and <dscore/dsignal, signal> (B, K) or `combine(gradient, signal)` at each point. The gradient
        at the input of a layer is the one through this layer only."""

        readings = readings_of(at)

        def inner(point, gradient, value):
            if combine is not None:
                return combine(*(signal_layout.as_float(self, point, v, readings) for v in (gradient, value)))
            return ops.sum(ops.reshape(gradient * ops.cast(value, "float32"), (self.batch, -1)), axis=-1)

        scores, _, products = ask(self, Pass(tuple(at), inner))
        return scores, products

    def evaluate(self, at: Sequence[Point] = (), inputs: Any = None, replace: dict | None = None) -> tuple:
        """Scores (B, K) and the signals at the points `at`, without gradients. `inputs` are other images to run on.

        `replace` {point: function} runs the model with `function(signal)` (B, *S', C) in place of these signals."""
        self._check_replaced(replace or ())
        every = self._every(at)
        if inputs is None and not replace:
            scores, values, _ = ask(self, Pass(every))
        else:
            scores, values = backend.evaluate(self.runner(every, replace), self.inputs if inputs is None else inputs)
            reachability.check_seen(self, every, values)
        return scores, signal_layout.signals(self, at, values)

    def _every(self, at: Sequence[Point]) -> tuple[Point, ...]:
        """The points, with those of all frames in the place of one that stands for them."""
        return tuple(q for p in at for q in signal_layout.parts(self.trace, p, at) or (p,))

    def resumed(self, point: Point) -> tuple:
        """Scores (B, K), the signal (B, *S', C) at a point, and a function from another such signal to the scores with
        that signal in its place. The function computes only what depends on the signal.

        Raises an exception of the framework if it cannot tell what depends on the signal."""
        self._check_replaced([point])
        scores, values, rest = backend.resumed(self.runner([point]), self.inputs, point)
        reachability.check_seen(self, [point], values)
        value, readings = values[point], readings_of([point])

        def scored(signal):
            return rest(signal_layout.replaced(self, point, value, lambda _: signal, readings))

        return scores, signal_layout.as_float(self, point, value, readings), scored

    def _check_replaced(self, points: Iterable[Point]) -> None:
        if any(signal_layout.parts(self.trace, p, ()) for p in points):
            raise LayerError("Each frame runs in a call of its own, so a signal of all frames cannot be replaced.")

    def steps(self, stop: Point | None = None) -> tuple[Step, ...]:
        """The calls between the images, or the signal at `stop`, and the scores (see `operations.steps`)."""
        if self.adapter.black_box:
            black_box.refuse()
        known, key = self.operations.known, ("steps", self.target, stop, self.roots)
        if key not in known:
            is_constant = functools.partial(linear.is_constant, self)
            known[key] = tuple(steps(self.adapter, self.operations, self.target, stop, self.roots, is_constant))
        return known[key]

    def runner(self, at: Sequence[Point], replace: dict | None = None, overrides: Overrides | None = None) -> Callable:
        """A function `run(images, tap)` that returns scores (B, K). `tap(point, value)` sees the signals at the points
        `at`. `replace` and `overrides` are as in `evaluate` and `jacobian`."""
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
                    value = signal_layout.replaced(self, point, value, replace[point], readings)
                if rewire:
                    waiting.discard(point)
                    value = rewire(point, value)
                value = tap(point, value)
                if point == target or point in ends:  # copied, since the softmax may work in place
                    seen[point] = ops.copy(value) if point.link == "input" else value
                return seen[outs[point]] if point in outs else value

            outputs = self.adapter.run(x, see, points, strict=len(at) > 1, rules=overrides is not None)
            reachability.check_seen(self, waiting, ())
            return self._scores(seen[target] if target and not skipped else outputs, x.shape[0])

        return run
