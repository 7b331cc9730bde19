"""Which detection agrees with a box, and how well: what `ke.scores.box` computes."""

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

from keras_explainable.errors import InputError

LAYOUTS: dict[str, Callable] = {
    "xyxy": lambda low, other: (low, other),
    "xywh": lambda low, size: (low, low + size),
    "cxcywh": lambda centre, size: (centre - size / 2, centre + size / 2),
}


def box(outputs: Any, given: Any, unit: int | None, least: float, names: tuple, layout: str, activation: Any) -> Any:
    """The scores (B, M) of the `given` boxes (see `ke.scores.box`)."""
    if isinstance(outputs, (list, tuple)) and all(isinstance(one, Mapping) for one in outputs):  # one for each image
        batched = ({k: v[None] for k, v in one.items() if ops.is_tensor(v)} for one in outputs)
        return ops.concatenate([box(one, given, unit, least, names, layout, activation) for one in batched])
    if not isinstance(outputs, Mapping):
        raise InputError(
            f"box: outputs of type {type(outputs).__name__} came, and a dictionary with {names[0]!r} and {names[1]!r}, "
            "or a list of one for each image, was expected: of other outputs make such a dictionary first, as by "
            "score=lambda outputs: ke.scores.box(...)({'boxes': outputs[0], 'scores': outputs[1]})."
        )
    missing = [name for name in names[:2] if name not in outputs]
    if missing:
        has = ", ".join(map(repr, outputs))
        raise InputError(f"The model's outputs have no {missing[0]!r}; they are: {has}. Name it by boxes= or scores=.")
    p = ops.cast(ops.convert_to_tensor(outputs[names[1]]), "float32")
    p = getattr(ops, activation)(p) if activation else p
    if len(p.shape) == 3:
        if unit is not None and unit >= p.shape[-1]:
            raise InputError(f"Unit {unit} was asked for, and this output has units 0 to {p.shape[-1] - 1}.")
        p = ops.max(p, axis=-1) if unit is None else p[..., unit]
    elif unit is not None:
        named = "labels" if names[2] == "classes" and "classes" not in outputs else names[2]
        if named not in outputs:
            raise InputError(f"The model's outputs have no {names[2]!r} to tell unit {unit} by: name it by classes=.")
        p = p * ops.cast(ops.cast(ops.convert_to_tensor(outputs[named]), "int32") == unit, "float32")
    found = ops.cast(ops.convert_to_tensor(outputs[names[0]]), "float32")[:, None]  # (B, 1, N, 4)
    wanted = ops.reshape(given.tensor, (1, -1, 1, 4))
    overlap = _overlap(*(LAYOUTS[layout](corners[..., :2], corners[..., 2:]) for corners in (found, wanted)))
    agreement = ops.where(overlap >= least, overlap, ops.zeros_like(overlap)) * p[:, None]
    nothing = ops.zeros((ops.shape(found)[0], wanted.shape[1], 1))  # also where there is no detection at all
    return ops.max(ops.concatenate([agreement, nothing], axis=-1), axis=-1)


def _overlap(a: tuple, b: tuple) -> Any:
    """Intersection over union of boxes given by their low and high corners."""

    def area(low, high):
        return ops.prod(ops.maximum(high - low, 0.0), axis=-1)

    common = area(ops.maximum(a[0], b[0]), ops.minimum(a[1], b[1]))
    union = area(*a) + area(*b) - common
    return common / ops.where(union > 0, union, ops.ones_like(union))
