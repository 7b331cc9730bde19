"""Points and weights of an integral from 0 to 1."""

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.runtime.repetition import MOST_NODES
from keras_explainable.runtime.validation import check_choice, check_repetitions

QUADRATURES = ("gauss_legendre", "midpoint")


def quadrature_of(kind: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1) and weights that sum to 1, float32: the sum of weights f(nodes) approximates the integral of f.

    Raises:
        InputError: the kind or the number is not possible.
    """
    check_choice("quadrature", kind, QUADRATURES)
    check_repetitions(number)
    if kind != "midpoint" and number > MOST_NODES:
        raise InputError(
            f'repetitions={number} came, and at most {MOST_NODES:,} are possible with quadrature="gauss_legendre": use '
            'quadrature="midpoint" for more.'
        )
    if kind == "midpoint":
        nodes, weights = (np.arange(number) + 0.5) / number, np.full(number, 1 / number)
    else:
        nodes, weights = np.polynomial.legendre.leggauss(number)
        nodes, weights = (nodes + 1) / 2, weights / 2
    return nodes.astype("float32"), weights.astype("float32")
