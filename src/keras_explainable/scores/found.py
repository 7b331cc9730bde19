"""The detections on images: how likely each is, of which class, and which matches a place best."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keras import ops

from keras_explainable.errors import InputError
from keras_explainable.scores.score import check_units


class Found(NamedTuple):
    """The N detections of a batch, and how likely they are."""

    p: Any  # probabilities (B, N), or of each class (B, N, units)
    labels: Any  # the classes (B, N) if `p` is (B, N), or None
    named: str  # the name of the labels in the outputs
    no_object: bool  # whether the last unit means "no object"

    @property
    def objects(self) -> Any:
        """`p` without the unit that means "no object"."""
        return self.p[..., :-1] if self.no_object else self.p

    def of(self, units: tuple[int, ...] | None) -> Any:
        """The probabilities (B, M, N) of M units, or (B, 1, N) of all units together."""
        if len(self.p.shape) == 2 and units is not None:
            if self.labels is None:
                raise InputError(
                    f"The model's outputs have no {self.named!r}, and unit {units[0]} was asked for: name the classes "
                    "by classes=."
                )
            same = self.labels[:, None] == ops.reshape(ops.convert_to_tensor(units, "int32"), (1, -1, 1))
            return self.p[:, None] * ops.cast(same, "float32")
        if len(self.p.shape) == 2 or units is None:
            return (self.p if len(self.p.shape) == 2 else ops.max(self.objects, axis=-1))[:, None]
        check_units(units, self.p.shape[-1])
        return ops.stack([self.p[..., k] for k in units], axis=1)


def read(outputs: Mapping, scores: str, classes: str | None, activation: str | None, no_object: bool) -> Found:
    """Read the detections of a batch; `scores` and `classes` are the names in the outputs."""
    p = as_floats(outputs[scores])
    p = getattr(ops, activation)(p) if activation else p
    named = classes or ("classes" if "classes" in outputs or "labels" not in outputs else "labels")
    labels = ops.cast(ops.convert_to_tensor(outputs[named]), "int32") if named in outputs else None
    return Found(p, labels, named, no_object and len(p.shape) == 3)


def as_floats(value: Any) -> Any:
    """A part of the outputs as float32."""
    return ops.cast(ops.convert_to_tensor(value), "float32")


def of_each_image(outputs: Any) -> list | None:
    """The outputs of a detector that returns one dictionary per image, each as a batch of one; None for other
    outputs."""
    if not isinstance(outputs, (list, tuple)) or not all(isinstance(one, Mapping) for one in outputs):
        return None
    return [{k: v[None] for k, v in one.items() if hasattr(v, "shape")} for one in outputs]


def on_each(outputs: Any, score: Callable) -> Any:
    """The scores (B, M) of outputs, computed image by image if there is one dictionary per image."""
    images = of_each_image(outputs)
    return score(outputs) if images is None else ops.concatenate([score(one) for one in images])


def best(overlap: Any, least: float, p: Any) -> Any:
    """max_n overlap[b, m, n] p[b, m, n] over those n that overlap by at least `least`; 0 if there is none. (B, M)."""
    agreement = ops.where(overlap >= least, overlap, ops.zeros_like(overlap)) * p
    nothing = ops.zeros((ops.shape(overlap)[0], overlap.shape[1], 1))  # so that there is one even without detections
    return ops.max(ops.concatenate([agreement, nothing], axis=-1), axis=-1)
