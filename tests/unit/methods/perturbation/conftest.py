"""The images of these tests."""

import pytest

from support import keras_models


@pytest.fixture
def x():
    return keras_models.images("functional")
