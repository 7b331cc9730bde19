"""Where a model's scores are, for a batch of images: in which output, before which softmax, for which units."""

from functools import cached_property
from typing import Any

from keras import ops

from keras_explainable.errors import InputError, LayerError
from keras_explainable.models import addresses, heads
from keras_explainable.models.contract import Adapter
from keras_explainable.models.score import Score, score_traits
from keras_explainable.models.structures import path_text
from keras_explainable.models.trace import Point, Trace
from keras_explainable.models.units import check_scores, unit_indices


class Scored:
    """A model, traced on images, and its scores (B, K).

    Args:
        adapter: the model.
        inputs: images as the model takes them.
        indices: the units.
        score: as in `View`.
    """

    def __init__(self, adapter: Adapter, inputs: Any, indices: Any, score: Score | None) -> None:
        self.adapter, self.inputs, self.indices, self.score = adapter, inputs, indices, score
        self.trace = adapter.trace((1, *inputs.shape[1:]))

    @property
    def target(self) -> Point | None:
        """Where the scores are taken; None for the model's output as it is."""
        if self.adapter.target is not None:  # the score of a model that exposes signals
            return addresses.resolve(self.trace, self.adapter, self.adapter.target)
        if self.adapter.black_box or not self._of_units:
            return None
        if not self.trace.outputs:
            raise InputError(
                "No tensor was found in what the model returns: "
                "pass score=, a function from what it returns to (batch, units) scores."
            )
        return self.ending.point if self.ending else None

    @cached_property
    def exposed(self) -> bool:
        """Whether the model's outputs are scores and the signals that they depend on, made by `expose` or by the
        user."""
        return self.adapter.signals is not None or heads.is_exposed(self.trace, lambda: self.operations)

    def choices(self) -> list[str]:
        """The first output and the other outputs (batch, units), as `ke.scores.output` takes them; empty if there is no
        other, or if the model names its logits."""
        if self.exposed or self.adapter.target is not None or not self.trace.outputs:
            return []
        first = self.trace.head()
        paths = {value: path for path, value, _ in reversed(self.trace.heads)}
        own = paths.get(first, ())
        others = [p for p, v, s in self.trace.heads if len(s) == 2 and len(p) == 1 and paths[v] == p and v != first]
        return [] if "logits" in own else [*map(path_text, (own, *others))] if others else []

    @property
    def which(self) -> tuple:
        """The path of the output that the score selects; () for the first one."""
        return score_traits(self.score).which

    @property
    def ending(self) -> heads.Ending | None:
        """The softmax or sigmoid after the scores of the explained output; None if there is none."""
        key = "ending", self.which
        if key not in self.trace.known:
            found, seen = heads.ending(self.trace, self.which)
            self.trace.known[key] = found if seen else heads.ending(self.operations, self.which)[0]
        return self.trace.known[key]

    @property
    def roots(self) -> tuple[int, ...]:
        """The values, in the trace with operations, that the scores are computed from."""
        trace = self.operations
        one = self._of_units or self.which
        every = tuple(dict.fromkeys(value for _, value, _ in trace.heads)) or trace.outputs
        return (trace.head(self.which),) if one and trace.outputs else every

    @property
    def made_of(self) -> tuple[int, ...]:
        """The same, but before the softmax or sigmoid that is left out."""
        target = self.target
        call = self.operations.at(target) if target else None
        if target is None or call is None:
            return self.roots
        return (call.inputs[target.part] if target.link == "input" else call.outputs[0],)

    @property
    def _of_units(self) -> bool:
        """Whether the score is made of units, and so takes the values before the last softmax or sigmoid."""
        return score_traits(self.score).before_activation

    def head(self) -> Any:
        """The weights (C, units) of the linear layer that computes the scores from pooled channels, or None."""
        call = heads.linear_head(*self._end())
        return None if call is None else self.adapter.layers.kernel(call.path)

    def pools(self) -> bool:
        """Whether the scores are the pooled channels themselves, with no layer after the pooling."""
        call = heads.score_call(*self._end())
        return call is not None and "global" in call.kind.lower()

    def _end(self) -> tuple[Trace, Point | None, tuple]:
        target = self.target
        seen = target is None or self.trace.at(target) is not None
        return (self.trace if seen else self.operations), target, self.which

    @property
    def _skipped(self) -> tuple:
        """What is left out after the scores, if they pass through the rest of the model before they are read."""
        ending = self.ending if self.target is not None and self.adapter.target is None else None
        return ending.skipped if ending and (self.which or ending.moved) else ()

    def chosen(self) -> Any:
        """The units as a (B, K) tensor, checked where they are known; None for every unit."""
        if self.indices is None:
            return None
        return unit_indices(self.indices, ops.shape(self.inputs)[0], self.unit_count() if self.score is None else None)

    def unit_count(self) -> int:
        """How many units there are to choose from."""
        raise NotImplementedError

    def units(self, values: Any) -> Any:
        """The chosen columns of (B, units) values."""
        if self.indices is None:
            return values
        return ops.take_along_axis(values, unit_indices(self.indices, ops.shape(values)[0], values.shape[-1]), axis=-1)

    def _scores(self, outputs: Any, images: int | None) -> Any:
        if self.score is not None:
            outputs = self.adapter.scores(outputs) if self._of_units and not self.which else outputs
            axis = score_traits(self.score).without_channels(len(self.inputs.shape) - 2, outputs)
            outputs = outputs if axis is None else ops.expand_dims(outputs, axis)
            scores = ops.cast(check_scores(self.score(outputs)), "float32")
            if len(scores.shape) != 2:
                column = ": add the axis of units, as in scores[:, None]" if len(scores.shape) == 1 else ""
                raise InputError(
                    f"score(outputs) gave shape {tuple(scores.shape)}, and (batch, units) was expected{column}."
                )
            if scores.shape[1] == 0 or (images is not None and scores.shape[0] not in (images, None)):
                raise InputError(
                    f"score(outputs) gave shape {tuple(scores.shape)} for {images} images, and a row for each image, "
                    "of one score or several, was expected."
                )
            return self.units(scores)
        scores = ops.cast(self.adapter.scores(outputs), "float32")
        scores = scores[:, None] if len(scores.shape) == 1 else scores
        if len(scores.shape) != 2:
            others = [] if self.adapter.black_box else self.choices()
            other = f", such as ke.scores.output({others[1]})" if others else ""
            raise InputError(
                f"The model's output has shape {tuple(scores.shape)}, and (batch, units) was expected: "
                f"pass score=, a function from the model's outputs to (batch, units) scores{other}."
            )
        if images is not None and scores.shape[0] not in (images, None):
            raise InputError(
                f"The model's output has shape {tuple(scores.shape)} for {images} images, and a row for each image was "
                "expected: pass score=, a function from the model's outputs to (batch, units) scores; for one box of a "
                "detector, ke.scores.box(box, unit)."
            )
        return self.units(scores)

    @cached_property
    def operations(self) -> Trace:
        """The trace with a module's operations outside of layers. This costs a run of the module."""
        return self.adapter.trace((1, *self.inputs.shape[1:]), operations=True)

    def call(self, point: Point) -> Any:
        call = self.trace.at(point) or self.operations.at(point)
        if call is None:
            raise LayerError(f"{point} is not part of the model's forward pass.")
        return call
