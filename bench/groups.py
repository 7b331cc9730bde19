"""Groups of methods that share passes of the model: each is measured as one `ke.explain([...])`."""

from typing import NamedTuple

import numpy as np

from keras_explainable.costs import Cost

ALIKE = 1e-5  # of the largest value: maps of a method in a group and alone may differ by this much


class Group(NamedTuple):
    """Methods, the passes of the bare framework that they need together, and the highest ratio to these."""

    methods: tuple[str, ...]
    cost: Cost
    most: float


EIGHT = ("cam", "gradcam", "gradcampp", "hirescam", "xgradcam", "layercam", "eigencam", "eigengradcam")
OF_IMAGES = ("gradients", "input_x_gradient", "full_gradients", "simple_full_gradients")
GROUPS = {
    "eight CAMs": Group(EIGHT, Cost("1 forward"), 1.3),
    "eight CAMs and four gradients": Group((*EIGHT, *OF_IMAGES), Cost("1 forward + K backward"), 1.6),
    "smoothgrad, vargrad, squaregrad": Group(
        ("smoothgrad", "vargrad", "squaregrad"), Cost("n (forward + K backward)"), 1.05
    ),
}


def agree(together, alone):
    """Check the explanations of a group against the maps of each method alone."""
    errors = {name: abs(one.maps - alone[name]).max() / abs(alone[name]).max() for name, one in together.items()}
    worst = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    refused = f", refused: {', '.join(together.failed)}" if together.failed else ""
    return ("right" if errors[worst] < ALIKE else f"wrong by {errors[worst]:.1e} ({worst})") + refused
