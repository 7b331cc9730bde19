"""Check that a model's weights stay the same while it runs: another thread may train it, or load other weights."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from keras_explainable import backend
from keras_explainable.errors import ChangedError, ExplainError
from keras_explainable.models.contract import Adapter

# Weights change one after another. A change in progress when a step begins may continue only after the step ends, so
# weights that were not seen before are checked again this many seconds after the first look.
SETTLED = 0.05

_seen: WeakKeyDictionary = WeakKeyDictionary()  # by model: a hash of the weights with which it was last explained


class Moment:
    """The weights of a model at this moment. Nothing is recorded if there is no other thread that could change them."""

    def __init__(self, adapter: Adapter, model: Any) -> None:
        self.adapter, self.model, self.began = adapter, model, time.monotonic()
        self.marks = self._look() if threading.active_count() > 1 else []

    def _look(self) -> list:
        try:
            return backend.marks(self.adapter.weights(), self.model)
        except Exception:  # on JAX, `fit` takes weights away from the model until it ends
            return [object()]

    def changed(self) -> bool:
        """Whether a weight was written to since. If so, what was found by running the model is dropped."""
        if not self.marks or self.marks == self._look():
            return False
        self.adapter.forget()
        return True

    def check(self) -> None:
        """Raise if weights changed since, or are being changed now."""
        if not self.marks:
            return
        found = hash(tuple(self.marks))
        if _seen.get(self.model) != found:
            time.sleep(max(0.0, self.began + SETTLED - time.monotonic()))
        if self.changed():
            raise ChangedError(_message())
        _seen[self.model], self.marks = found, []


def _message() -> str:
    others = ", or runs its fit, evaluate or predict" if backend.name == "jax" else ""
    return (
        "The weights of the model changed while it was explained, so the results belong to no single state of it: "
        f"another thread trains it, loads weights{others}. Wait until that is done and call again, or explain a copy "
        "that the other thread does not have: copy.deepcopy(module), or keras.models.clone_model(model) with "
        "set_weights(model.get_weights()), made while nothing changes."
    )


@contextmanager
def reporting_changes(adapter: Adapter, model: Any) -> Iterator[Moment]:
    """A scope in which a framework's error becomes a `ChangedError` if another thread changed weights meanwhile.

    Raises:
        ChangedError: the code inside failed, and weights changed meanwhile.
    """
    moment = Moment(adapter, model)
    try:
        yield moment
    except Exception as error:
        raw = error.__cause__ if isinstance(error, ExplainError) else error
        if raw is None or backend.is_out_of_memory(error) or backend.missing(error) or not moment.changed():
            raise
        raise ChangedError(_message()) from error
    moment.changed()


@contextmanager
def steady(adapter: Adapter, model: Any) -> Iterator[None]:
    """A scope whose results belong to one state of the weights.

    Raises:
        ChangedError: another thread changed weights meanwhile.
    """
    with reporting_changes(adapter, model) as moment:
        yield
        moment.check()
