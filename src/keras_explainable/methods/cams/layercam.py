"""Layer-CAM, of one layer or of several."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.errors import InputError
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.reduction import units_last
from keras_explainable.models import View
from keras_explainable.numerics.resize import resize


@explainer(
    "cam", "hidden signal, gradient", "1 forward", "10.1109/TIP.2021.3089943", postprocessing=filters.positive_normalize
)
def layercam(
    view: View,
    layer: Any = None,
    *,
    layers: Sequence | None = None,
) -> tuple:
    """The channels of a layer, weighted by the positive gradient at each position; fine in early layers too.

    maps[b, s, k] = sum_c relu(d score[b, k] / d A[b, s, c]) A[b, s, c]

    Args:
        layer: see `ke.methods.cams`.
        layers: several layers, in place of one. Each map is rectified, divided by its maximum, and resized to the
            largest; the result is their maximum. (The paper scales the maps M of early layers by tanh(2 M / max M),
            which raises small values.)

    Reference: Jiang et al., LayerCAM, IEEE TIP 2021, doi:10.1109/TIP.2021.3089943.
    """
    if layers is not None and not (isinstance(layers, (list, tuple)) and layers):
        raise InputError(f"layers={layers!r} came, and a list of layers was expected: for a single layer use layer=.")
    points = [view.signal(one) for one in ([layer] if layers is None else layers)]
    scores, a, g = view.jacobian(list(dict.fromkeys(points)))
    maps = [units_last(ops.sum(ops.relu(g[p]) * a[p][:, None], axis=-1)) for p in points]
    return scores, maps[0] if layers is None else fused(maps)


def fused(maps: Sequence) -> Any:
    """The maximum of several maps (B, *S', K), each rectified, divided by its maximum, and resized to the largest."""
    space = tuple(range(1, len(maps[0].shape) - 1))
    size = [max(m.shape[axis] for m in maps) for axis in space]
    found = None
    for m in map(ops.relu, maps):
        high = ops.max(m, axis=space, keepdims=True)
        m = resize(m / ops.where(high > 0, high, ops.ones_like(high)), size)
        found = m if found is None else ops.maximum(found, m)
    return found
