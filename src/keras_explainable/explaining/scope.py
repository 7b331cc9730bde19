"""The scope in which a model is run for a user."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_explainable import models
from keras_explainable.runtime.compile_cache import options


@contextmanager
def model_scope(
    model: Any, precision: str | None = None, run_eagerly: bool | None = None, jit_compile: bool | None = None
) -> Iterator[None]:
    """A scope in which the layers of a model are looked up once, and the model runs on its own device, in `precision`,
    and in steps compiled as `compile_cache.options` says.

    Raises:
        InputError: the precision is unknown.
        ChangedError: the code inside failed, and another thread changed weights meanwhile.
    """
    with (
        models.unchanging(),
        models.reporting_changes(model),
        options(run_eagerly, jit_compile),
        models.computing_in(precision),
        models.adapter(model).device(),
    ):
        yield
