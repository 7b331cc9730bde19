"""Whether a model's weights stay as they are while it runs: another thread may train it, or load others."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from keras_explainable import backend
from keras_explainable.errors import ChangedError, ExplainError
from keras_explainable.models.contract import Adapter

# Weights are changed one after the other. A change that is on its way when a step begins may go on only after its end,
# so weights that were not seen before are looked at again, so many seconds after the first look.
SETTLED = 0.05

_seen: WeakKeyDictionary = WeakKeyDictionary()  # of each model, a hash of the weights with which it was last explained


class Moment:
    """The weights of a model as they are now; of nothing where no other thread is there to change them."""

    def __init__(self, adapter: Adapter, model: Any) -> None:
        self.adapter, self.model, self.began = adapter, model, time.monotonic()
        self.marks = self._look() if threading.active_count() > 1 else []

    def _look(self) -> list:
        try:
            return backend.marks(self.adapter.weights(), self.model)
        except Exception:  # some are away: on JAX `fit` takes them from the model until it ends
            return [object()]

    def changed(self) -> bool:
        """Whether one of them was written to since; what was found by runs of the model is then forgotten."""
        if not self.marks or self.marks == self._look():
            return False
        self.adapter.forget()
        return True

    def check(self) -> None:
        """Refuse what was computed since, if they changed meanwhile, or are just being changed."""
        if not self.marks:
            return
        found = hash(tuple(self.marks))
        if _seen.get(self.model) != found:
            time.sleep(max(0.0, self.began + SETTLED - time.monotonic()))
        if self.changed():
            raise ChangedError(_said())
        _seen[self.model], self.marks = found, []


def _said() -> str:
    others = ", or runs its fit, evaluate or predict" if backend.name == "jax" else ""
    return (
        "The weights of the model changed while it was explained, so that what was computed belongs to no state of it: "
        f"another thread trains it, loads weights{others}. Wait until that is done and call again, or explain a copy "
        "that the other thread does not have: copy.deepcopy(module), or keras.models.clone_model(model) with "
        "set_weights(model.get_weights()), made while nothing changes."
    )


@contextmanager
def blamed(adapter: Adapter, model: Any) -> Iterator[Moment]:
    """A scope in which an error of a framework is laid on weights that another thread changed, if one did.

    Raises:
        ChangedError: what ran inside failed, and weights changed meanwhile.
    """
    moment = Moment(adapter, model)
    try:
        yield moment
    except Exception as error:
        raw = error.__cause__ if isinstance(error, ExplainError) else error
        if raw is None or backend.is_out_of_memory(error) or backend.missing(error) or not moment.changed():
            raise
        raise ChangedError(_said()) from error
    moment.changed()


@contextmanager
def steady(adapter: Adapter, model: Any) -> Iterator[None]:
    """A scope whose results are of one state of the weights.

    Raises:
        ChangedError: another thread changed some meanwhile.
    """
    with blamed(adapter, model) as moment:
        yield
        moment.check()
