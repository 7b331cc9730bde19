"""What a detector found on images: how likely each find is, of which class, and which agrees best with a place."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keras import ops

from keras_explainable.errors import InputError
from keras_explainable.scores.score import check_units


class Found(NamedTuple):
    """How likely the N finds of a batch are."""

    p: Any  # (B, N), or of each class (B, N, units)
    labels: Any  # the classes (B, N) of (B, N), if there are
    named: str  # how they are called
    no_object: bool  # whether the last unit is that there is none

    @property
    def objects(self) -> Any:
        """Of each class that is an object."""
        return self.p[..., :-1] if self.no_object else self.p

    def of(self, units: tuple[int, ...] | None) -> Any:
        """(B, M, N) of M units, (B, 1, N) of all together."""
        if len(self.p.shape) == 2 and units is not None:
            if self.labels is None:
                raise InputError(
                    f"The model's outputs have no {self.named!r} to tell unit {units[0]} by: name it by classes=."
                )
            same = self.labels[:, None] == ops.reshape(ops.convert_to_tensor(units, "int32"), (1, -1, 1))
            return self.p[:, None] * ops.cast(same, "float32")
        if len(self.p.shape) == 2 or units is None:
            return (self.p if len(self.p.shape) == 2 else ops.max(self.objects, axis=-1))[:, None]
        check_units(units, self.p.shape[-1])
        return ops.stack([self.p[..., k] for k in units], axis=1)


def read(outputs: Mapping, scores: str, classes: str | None, activation: str | None, no_object: bool) -> Found:
    """How likely the finds are by what the outputs call their scores and classes."""
    p = as_floats(outputs[scores])
    p = getattr(ops, activation)(p) if activation else p
    named = classes or ("classes" if "classes" in outputs or "labels" not in outputs else "labels")
    labels = ops.cast(ops.convert_to_tensor(outputs[named]), "int32") if named in outputs else None
    return Found(p, labels, named, no_object and len(p.shape) == 3)


def as_floats(value: Any) -> Any:
    """A part of the outputs as float32."""
    return ops.cast(ops.convert_to_tensor(value), "float32")


def of_each_image(outputs: Any) -> list | None:
    """The outputs of a detector that gives a dictionary for each image, each as a batch of one; None of others."""
    if not isinstance(outputs, (list, tuple)) or not all(isinstance(one, Mapping) for one in outputs):
        return None
    return [{k: v[None] for k, v in one.items() if hasattr(v, "shape")} for one in outputs]


def on_each(outputs: Any, score: Callable) -> Any:
    """The scores (B, M) of outputs, those of each image by itself where they come so."""
    images = of_each_image(outputs)
    return score(outputs) if images is None else ops.concatenate([score(one) for one in images])


def best(overlap: Any, least: float, p: Any) -> Any:
    """max_n overlap[b, m, n] p[b, m, n], of those that overlap by `least`; 0 where there is none (B, M)."""
    agreement = ops.where(overlap >= least, overlap, ops.zeros_like(overlap)) * p
    nothing = ops.zeros((ops.shape(overlap)[0], overlap.shape[1], 1))  # also where nothing is found at all
    return ops.max(ops.concatenate([agreement, nothing], axis=-1), axis=-1)
