"""What a decomposition shows of itself when it is printed: a summary with the numbers that it holds."""

import pickle

import keras
import numpy as np

import keras_explainable as ke
from keras_explainable.methods.fullgrad.decomposition import Completeness, Decomposition
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch


def line():
    """score = mean of (2 x + 3), plus 5: of an image of ones 10, of which the input 2, the first bias 3, the last 5."""
    images = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(1, 1, name="first")(images)
    model = keras.Model(images, keras.layers.Dense(1, name="last")(keras.layers.GlobalAveragePooling2D()(x)))
    model.set_weights(
        [np.full(shape, value) for shape, value in (((1, 1, 1, 1), 2.0), (1, 3.0), ((1, 1), 1.0), (1, 5.0))]
    )
    return model


def test_a_printed_decomposition_is_a_summary_of_its_numbers(capsys):
    parts = ke.full_gradient_decomposition(line(), np.ones((2, 4, 4, 1)), [[0], [0]])
    print(parts)
    printed = capsys.readouterr().out.splitlines()
    assert printed == str(parts).splitlines() == repr(parts).splitlines()
    assert printed[1:3] == ["input_gradient: 2 x 1 x 4 x 4 x 1", "bias_gradients: of 2 calls of layers with a bias"]
    assert printed[3].startswith("Completeness of 3 contributions, relative gap at most 0.0e+00")
    assert printed[4:6] == ["scores: 2 x 1: 10, 10", "total:  2 x 1: 10, 10"]
    assert printed[6:] == [
        "largest contributions, mean |value| over 2 x 1:",
        "  last, call 0: 5",
        "  first, call 0: 3",
        "  input: 2",
    ]


def test_it_is_the_same_named_tuple():
    parts = ke.full_gradient_decomposition(line(), np.ones((1, 4, 4, 1)), 0)
    assert Decomposition._fields == ("input_gradient", "bias_gradients", "completeness")
    gradient, biases, report = parts
    assert gradient is parts.input_gradient and parts[1] is biases and isinstance(report, Completeness)
    close(biases["last", 0], [[[5.0]]], rtol=1e-7)
    assert str(pickle.loads(pickle.dumps(parts))) == str(parts._replace(input_gradient=gradient)) == str(parts)


def test_what_biases_leave_out_is_named_and_many_calls_stay_a_few_lines():
    model, x = ke.demo.load_model(), ke.demo.load_scenes(2, seed=7)[0].astype("float32")
    parts = ke.full_gradient_decomposition(model, x, [[0, 1], [2, 3]], implicit=True)
    printed = str(parts).splitlines()
    assert len(printed) == 6 + 6 + 6
    contributions = {k: float(abs(v).mean()) for k, v in parts.completeness.contributions.items()}
    key = max(contributions, key=contributions.get)
    assert printed[7] == f"  {key[0]}, call {key[1]}: {contributions[key]:.4g}"
    assert printed[12].startswith("largest unexplained by biases")
    assert printed[4].startswith("scores: 2 x 2: ") and printed[4].count(",") == 3
