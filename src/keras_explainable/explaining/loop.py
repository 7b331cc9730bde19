"""The loop over batches: run the compiled step, and fetch its results while the next batch is computed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras

from keras_explainable import backend, data, models, registry, scores
from keras_explainable.errors import InputError, shortly
from keras_explainable.explaining.batch_step import BatchStep
from keras_explainable.runtime.compile_cache import Program
from keras_explainable.runtime.progress import at_batch, progress_bar


def run_steps(
    step: Program,
    whole: bool,
    model: Any,
    source: data.Batches,
    verbose: int | str = "auto",
    callbacks: Any = None,
    fetch: Callable = backend.to_host,
) -> Iterator[tuple[Any, Any]]:
    """For each batch (images, indices, *rows), yield its first image and `step(model, images, indices, *rows)`. The
    step's tensors have the images on their first axis, and are fetched while the next batch is computed.

    Args:
        whole: whether the step is compiled as a whole.
        source: what `checks.open_batches` returns.

    If the device runs out of memory, this batch and all later ones are halved.
    """
    run = BatchStep(step, whole, model)
    waiting: tuple | None = None
    failure: BaseException | None = None
    progress = _callbacks(callbacks, model, source.number, verbose)
    progress.on_predict_begin()
    try:
        at_batch(0, source.number)
        for i, batch in enumerate(source.iterator):
            progress.on_predict_batch_begin(i)
            with progress_bar(verbose in (1, "auto") and source.number == 1):
                outputs = run(*batch)
            if waiting is not None:
                yield run.fetched(fetch, *waiting)
            waiting = batch, outputs
            progress.on_predict_batch_end(i, {"outputs": outputs})
            at_batch(i + 1, source.number)
    except (Exception, KeyboardInterrupt) as error:  # what was computed before is yielded first
        failure = error
    if waiting is not None:
        yield run.fetched(fetch, *waiting)
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame
    progress.on_predict_end()


def units_and_score(y: Any, score: Any) -> tuple[Any, Any]:
    """What a user's `y` and `score` mean: unit numbers, an object that chooses units by their scores, or None; and the
    score.

    Raises:
        InputError: they are not valid, or do not go together.
    """
    if isinstance(score, scores.Labels):
        raise InputError("score=ke.scores.binary(labels) came: labels choose what is explained, so give it as y=.")
    if not (score is None or registry.accepts(score, "outputs")):
        raise InputError(
            f"score={shortly(score)} came, and a function from the model's outputs to (batch, units) scores was "
            "expected: ke.scores has ready ones, such as ke.scores.margin(3, 5); for a unit, give y=3."
        )
    if isinstance(y, scores.Labels):
        if score is not None:
            raise InputError(
                "y=ke.scores.binary(...) or detection(...) has its own score, and score= came as well: give one."
            )
        return y.y, y.score
    if not isinstance(y, str):
        return y, score
    found = re.fullmatch(r"predicted|top-([1-9][0-9]{0,8})", y)
    if not found:
        raise InputError(
            f'y={y!r} came, and unit indices were expected, or "predicted" for the unit that the model scores highest '
            'on each image, or "top-3" for the three highest. For the name of a class, give all names as labels=[...].'
        )
    columns = models.chosen_of(score) if models.chooses(score) else score
    return replace(scores.top_k(int(found[1] or 1)), of=columns), score


class _NoCallbacks:
    """No callbacks. A Keras list of none would start a thread."""

    def __getattr__(self, name: str) -> Callable:
        return lambda *args: None


def _callbacks(callbacks: Any, model: Any, steps: int | None, verbose: int | str) -> Any:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    try:
        verbose = 1 if isinstance(verbose, str) and verbose == "auto" else int(verbose)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f'verbose={shortly(verbose)} came, and "auto", 0, 1 or 2 was expected.') from error
    callbacks = [] if callbacks is None else keras.tree.flatten(callbacks)
    if not all(hasattr(callback, "set_model") and hasattr(callback, "on_predict_begin") for callback in callbacks):
        raise InputError(f"callbacks={shortly(callbacks)} came, and a list of keras.callbacks.Callback was expected.")
    if not callbacks and not verbose:
        return _NoCallbacks()
    # No history callback: Keras would write it to the model.
    listed = keras.callbacks.CallbackList(
        callbacks, add_history=False, add_progbar=verbose != 0, verbose=verbose, epochs=1, steps=steps
    )
    # One by one: the list's own `set_model` tests `if model`, which a module may not support.
    for callback in listed.callbacks:
        callback.set_model(models.unbind(model)[0])
    return listed
