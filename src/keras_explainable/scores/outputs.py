"""Scores that take a model's outputs as they are, or one of several outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from keras import ops

from keras_explainable.errors import InputError
from keras_explainable.models import score_traits
from keras_explainable.numerics.arrays import Array
from keras_explainable.scores.score import Chosen, Score, as_float, as_rows, numbers
from keras_explainable.scores.score import unit as _unit


def value(i: int | Sequence[int] = 0) -> Score:
    """A number that the model predicts: output i of a regression, as it is.

    score[b, j] = outputs[b, i_j]"""
    return Score(_unit, (numbers("i", i),))


def similarity(embedding: Any) -> Score:
    """How similar the model's output is to an embedding: the cosine of the angle between them.

    score[b, j] = <outputs[b], e_j> / (|outputs[b]| |e_j|)

    Args:
        embedding: (D,), or (M, D) for M scores. Outputs of a higher rank are flattened.
    """
    array = Array.of(embedding)
    if len(array.shape) not in (1, 2):
        raise InputError(f"similarity: an embedding of shape {array.shape} came, and (D,) or (M, D) was expected.")
    return Score(_similarity, (array,))


def output(which: int | str, score: Callable | None = None) -> Score:
    """One of a model's several outputs, by number or name.

    Args:
        which: the place in a list, the key of a dictionary, or the name of a field.
        score: a score of that output, such as `value(2)`, which takes it as it is, or `margin(1, 2)`, which takes it
            before its last softmax or sigmoid. None: the output's columns, also before that. With `top_k()` the units
            are chosen on the original images.
    """
    if isinstance(score, Chosen):
        return replace(score, of=output(which, score.of))
    of = score_traits(score)
    return Score(_output, (which, score), before_activation=of.before_activation, which=(which, *of.which))


def _output(outputs: Any, which: int | str, score: Callable | None) -> Any:
    if ops.is_tensor(outputs):
        if which != 0:
            raise InputError(f"The model returns one output, and {which!r} was asked for: leave ke.scores.output out.")
        outputs = (outputs,)  # else an index would select an image
    try:
        by_name = isinstance(which, str) and not isinstance(outputs, Mapping)
        found = getattr(outputs, str(which)) if by_name else outputs[which]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        listed = outputs if isinstance(outputs, Mapping) else range(len(outputs) if hasattr(outputs, "__len__") else 0)
        names = ", ".join(map(repr, listed)) or type(outputs).__name__
        raise InputError(f"The model's outputs have no {which!r}; they are: {names}.") from error
    return as_rows(found) if score is None else score(found)


def _similarity(outputs: Any, embedding: Array) -> Any:
    values = as_float(outputs)
    values = ops.reshape(values, (ops.shape(values)[0], -1))
    other = ops.reshape(embedding.tensor, (-1, embedding.shape[-1]))
    if None not in (values.shape[-1], other.shape[-1]) and values.shape[-1] != other.shape[-1]:
        raise InputError(f"Outputs of {values.shape[-1]} numbers came for an embedding of {other.shape[-1]}.")
    return _unit_length(values) @ ops.transpose(_unit_length(other))


def _unit_length(v: Any) -> Any:
    return v / ops.sqrt(ops.maximum(ops.sum(v * v, axis=-1, keepdims=True), 1e-24))
