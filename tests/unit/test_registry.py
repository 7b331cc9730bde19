"""Names of methods that were nearly right: the nearest is told, however it was written."""

import pytest

import keras_explainable as ke
from keras_explainable.errors import MethodNameError

WRITTEN = {
    "gradCAM": "gradcam",
    "Grad-CAM": "gradcam",
    "GRAD_CAM": "gradcam",
    "Grad-CAM++": "gradcampp",
    "LayerCAM": "layercam",
    "IntegratedGradients": "integrated_gradients",
    "integrated gradients": "integrated_gradients",
    "Smooth-Grad": "smoothgrad",
    "guided-backprop": "guided_backprop",
    "LRP-Epsilon": "lrp_epsilon",
    "full_gradient": "full_gradients",
}


@pytest.mark.parametrize(("written", "meant"), list(WRITTEN.items()))
def test_the_nearest_comes_first_whatever_the_case_and_the_hyphens(written, meant):
    assert ke.registry.nearest(written)[0] == meant
    with pytest.raises(MethodNameError, match=f"Nearest: {meant}[,.]"):
        ke.get(written)
    with pytest.raises(AttributeError, match=rf"no attribute '{written}'\. Nearest: {meant}[,.]".replace("+", r"\+")):
        getattr(ke, written)


def test_what_is_near_to_nothing_gets_the_whole_list():
    with pytest.raises(AttributeError, match=r"no attribute 'qqq'\. Its methods: .*gradcam"):
        ke.qqq  # noqa: B018
    assert not hasattr(ke, "__wrapped__") and ke.registry.nearest("qqq") == []
