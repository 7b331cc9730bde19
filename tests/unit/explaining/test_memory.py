"""The memory that compiled explanations need, as XLA plans it: at most 1.3 times that of the bare gradient."""

import keras
import numpy as np
import pytest

from keras_explainable import registry
from keras_explainable.explaining.program import Explaining
from keras_explainable.explaining.several import Together

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="only XLA says what it plans")
METHODS = (
    *("cam", "gradcam", "gradcampp", "hirescam", "xgradcam", "layercam", "eigencam", "eigengradcam"),
    *("gradients", "input_x_gradient", "full_gradients", "simple_full_gradients"),
)


@pytest.fixture(scope="module")
def model():
    """A network whose signals are large beside maps. In small ones, arrays of the size of a signal weigh more."""
    return keras.applications.ResNet50(weights=None, input_shape=(96, 96, 3), classes=5, classifier_activation=None)


def planned(step, *args):
    """The bytes of intermediate arrays at the peak."""
    import jax

    from keras_explainable.backend.jax import _compiler_options

    compiled = jax.jit(step).lower(*args).compile(compiler_options=_compiler_options())
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_methods_of_one_pass_need_the_memory_of_the_bare_gradient(model):
    import jax

    x, y = np.random.default_rng(0).random((8, 96, 96, 3), "float32"), np.zeros((8, 1), "int32")
    steps = tuple((name, Explaining(registry.get(name), {}, None, False)) for name in METHODS)
    bare = planned(jax.grad(lambda x: model(x)[:, 0].sum()), x)
    assert planned(lambda x, y: Together(steps)(model, x, y), x, y) < 1.3 * bare
