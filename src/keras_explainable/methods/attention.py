"""Attention methods for transformers, from the attention probabilities A (B, H, T, T) of all layers.

B is the number of images, H of heads, T of tokens, K of explained units. The probabilities of each layer become one
matrix M (B, K, T, T). The map is the row of the class token in M_L ... M_2 M_1, as a grid of patches (B, *S', K). If no
token precedes the patches, it is the mean of the patches' rows. The methods with gradients also use this mean if the
score does not depend on the first token, for example if the head pools the patches. Common parameters:

- `prefix`: the number of tokens before the patches. None finds it.
- `grid`: the sizes of the grid of patches. None finds them.

The methods raise `LayerError` for models without attention, with attention within windows, or with tokens that do not
form a grid.
"""

from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.errors import InputError
from keras_explainable.methods.explainer import explainer
from keras_explainable.models import View

FUSIONS: dict[str, Callable] = {"mean": ops.mean, "max": ops.max, "min": ops.min}


def _followed(view: View, layers: Iterable, prefix: int | None, grid: Sequence[int] | None, first: Any = None) -> Any:
    """The row of M_L ... M_1 as a grid (B, *S', K). `layers` are the matrices (B, K, T, T), the last layer first.

    `first` (B, K) is whether the score depends on the first token; None means that it does."""
    layers = iter(layers)
    last = next(layers)
    before, sizes = view.grid(last.shape[-1], prefix, grid)
    row = ops.mean(last[:, :, before:], axis=2)
    if before:
        row = last[:, :, 0] if first is None else ops.where(first[..., None], last[:, :, 0], row)
    for matrix in layers:
        row = ops.einsum("bkt,bkts->bks", row, matrix)
    return ops.reshape(ops.transpose(row[:, :, before:], (0, 2, 1)), (-1, *sizes, row.shape[1]))


def _kept(attention: Any, discard: float) -> Any:
    """Matrices (..., T, T) in which the smallest entries, the fraction `discard` of each matrix, are set to 0."""
    if not (isinstance(discard, Real) and 0 <= discard < 1):
        raise InputError(
            f"discard={discard!r} came, and a fraction of the probabilities, from 0 to less than 1, was expected."
        )
    number = int(discard * attention.shape[-1] ** 2)
    if not number:
        return attention
    flat = ops.reshape(attention, (*ops.shape(attention)[:-2], attention.shape[-1] ** 2))
    least = ops.sort(flat, axis=-1)[..., number, None, None]
    return ops.where(attention >= least, attention, ops.zeros_like(attention))


def _with_residual(attention: Any) -> Any:
    """(M + I) / 2 with rows scaled to sum to 1: the residual connection counts as much as the attention."""
    mixed = attention + ops.eye(attention.shape[-1])
    return mixed / ops.sum(mixed, axis=-1, keepdims=True)


def _weighted(view: View, combine: Callable) -> tuple:
    """Scores; `combine(dscore/dA, A)` (B, K, T, T) of each layer, the last first; and whether the score depends on the
    first token (B, K), which the gradient at its row of the last layer's probabilities shows."""
    points = view.attentions()

    def beside(g, a):  # appends the dependence as one more row
        row = ops.any(g[:, :, 0] != 0, axis=(1, 2))[:, None, None]
        return ops.concatenate([combine(g, a), ops.ones_like(a[:, 0, :1]) * ops.cast(row, a.dtype)], axis=1)

    scores, found = view.products(points, beside)
    return scores, [found[point][:, :, :-1] for point in reversed(points)], found[points[-1]][:, :, -1, 0] > 0


@explainer(
    "attention",
    "attention",
    "1 forward",
    "arXiv:2005.00928",
    postprocessing=filters.normalize,
    caveat="Every unit has the same map. On photos, it finds objects no better than a random pixel.",
)
def attention_rollout(
    view: View,
    *,
    fusion: str = "mean",
    discard: float = 0.0,
    prefix: int | None = None,
    grid: Sequence[int] | None = None,
) -> tuple:
    """The product of the attention matrices of all layers, as attention to the patches.

    M = (A fused over heads + I) / 2 with rows scaled to sum to 1; map = the class token's row of M_L ... M_1

    Every unit has the same map. The class token's row is used even if the head pools the patches: without a gradient,
    this cannot be detected.

    Args:
        fusion: how heads are fused: "mean", "max" or "min".
        discard: the fraction of the fused probabilities, the smallest ones, that is set to 0 in each layer.
        prefix, grid: see `ke.methods.attention`.

    Reference: Abnar & Zuidema, Quantifying Attention Flow in Transformers, arXiv:2005.00928.
    """
    if not (isinstance(fusion, str) and fusion in FUSIONS):
        raise InputError(f"fusion={fusion!r} came: use one of {', '.join(map(repr, FUSIONS))}.")
    points = view.attentions()
    scores, seen = view.evaluate(points)
    fused = (FUSIONS[fusion](seen[point], axis=1)[:, None] for point in reversed(points))
    maps = _followed(view, (_with_residual(_kept(a, discard)) for a in fused), prefix, grid)
    return scores, ops.repeat(maps, scores.shape[-1], axis=-1)


@explainer(
    "attention", "attention, gradient", "1 forward + K backward", "arXiv:2005.00928", postprocessing=filters.normalize
)
def gradient_attention_rollout(
    view: View,
    *,
    discard: float = 0.0,
    prefix: int | None = None,
    grid: Sequence[int] | None = None,
) -> tuple:
    """Attention rollout with each layer's attention weighted by the gradient of the score.

    M = (relu(mean over heads of A dscore/dA) + I) / 2 with rows scaled to sum to 1; map = the class token's row of
    M_L ... M_1

    Args:
        discard: the fraction of the weighted probabilities, the smallest ones, that is set to 0 in each layer.
        prefix, grid: see `ke.methods.attention`.

    Reference: the rollout of Abnar & Zuidema, arXiv:2005.00928, with the weights of Chefer et al., arXiv:2012.09838.
    """
    scores, weighted, first = _weighted(view, lambda g, a: ops.relu(ops.mean(g * a, axis=1)))
    return scores, _followed(view, (_with_residual(_kept(w, discard)) for w in weighted), prefix, grid, first)


@explainer(
    "attention", "attention, gradient", "1 forward + K backward", "arXiv:2103.15679", postprocessing=filters.normalize
)
def attention_relevance(
    view: View,
    *,
    prefix: int | None = None,
    grid: Sequence[int] | None = None,
) -> tuple:
    """The relevance of patches for a unit of a transformer, by the attention rules of Chefer et al.

    R <- R + (mean over heads of relu(A dscore/dA)) R, from R = I, layer by layer; map = the class token's row of R

    Args:
        prefix, grid: see `ke.methods.attention`.

    Reference: Chefer et al., Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers, arXiv:2103.15679.
    """
    scores, weighted, first = _weighted(view, lambda g, a: ops.mean(ops.relu(g * a), axis=1))
    return scores, _followed(view, (w + ops.eye(w.shape[-1]) for w in weighted), prefix, grid, first)
