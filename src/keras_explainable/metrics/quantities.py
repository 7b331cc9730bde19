"""What a metric reads from the model's scores: the logit, the probability, the margin, or whether the unit wins."""

from typing import Any

from keras import ops

from keras_explainable import models
from keras_explainable.errors import InputError

QUANTITIES = ("probability", "logit", "margin", "accuracy")


def of_scores(every: Any, units: Any, quantity: str, link: str) -> Any:
    """The quantity of some units, from the scores of all.

    logit: z_k. probability: softmax(z)_k or sigmoid(z_k), as the `link` says. margin: z_k - max over j != k of z_j.
    accuracy: 1 if z_k is the largest score, else 0.

    Args:
        every: (B, U).
        units: integers (B, K).
        link: "softmax", "sigmoid" or "none" (scores that stay as they are).

    Returns:
        (B, K).
    """
    chosen = ops.take_along_axis(every, units, axis=-1)
    if quantity == "logit" or (quantity == "probability" and link == "none"):
        return chosen
    if quantity == "probability":
        if link == "sigmoid":
            return ops.sigmoid(chosen)
        return ops.take_along_axis(ops.softmax(every, axis=-1), units, axis=-1)
    count = every.shape[-1]
    own = ops.one_hot(units, count)  # (B, K, U)
    others = ops.max(every[:, None] - 1e30 * own, axis=-1)
    return chosen - others if quantity == "margin" else ops.cast(chosen > others, "float32")


def link_of(view: models.View) -> str:
    """The function that turns the scores of a view into probabilities: the softmax or sigmoid that the model ends with.

    For a model that returns logits it is the softmax, or the sigmoid if there is one unit. The scores of a black box,
    and those of `score=`, stay as they are: "none"."""
    if view.adapter.black_box or view.user_score is not None:
        return "none"
    if view.ending is None:
        return "sigmoid" if view.unit_count() == 1 else "softmax"
    return "sigmoid" if "sigmoid" in models.kind(view.call(view.ending.point)) else "softmax"


def check_quantity(quantity: Any) -> None:
    """Raise if this is not a quantity."""
    if quantity not in QUANTITIES:
        raise InputError(f"quantity={quantity!r} came, and one of {', '.join(map(repr, QUANTITIES))} was expected.")
