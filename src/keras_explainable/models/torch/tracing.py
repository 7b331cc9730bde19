"""Record the trace of a module: what it calls in a run on zeros."""

import functools
from itertools import chain
from typing import Any

import torch

from keras_explainable import backend
from keras_explainable.errors import InputError
from keras_explainable.models import recording
from keras_explainable.models.inputs import misfit, refuse_arguments
from keras_explainable.models.structures import leaves
from keras_explainable.models.torch import layer_math
from keras_explainable.models.torch.describe import describe, first_tensor, parts_of, rank
from keras_explainable.models.trace import Trace


def traced(adapter: Any, shape: tuple, operations: bool) -> Trace:
    """The trace of an adapter's module on images of this shape."""
    layer_math.check_tracked(adapter.module)
    try:
        return _traced(adapter, shape, operations, True)
    except (RuntimeError, InputError) as error:
        if not layer_math.is_of_gradients(error):
            raise
    return _traced(adapter, shape, operations, False)  # the module can run, but not be differentiated


def _traced(adapter: Any, shape: tuple, operations: bool, graded: bool) -> Trace:
    module = adapter.module
    recorder = recording.Recorder(_identity)  # in-place results are new values
    no_grad: set[tuple[str, int]] = set()
    heads: list[tuple[tuple, int, tuple]] = []
    scores: list[tuple[int, tuple]] = []

    def note(point, value):
        if point.link == "output" and graded and not torch.is_grad_enabled():
            no_grad.add(point[:2])
        return recorder(point, value)

    def run(x):
        with torch.set_grad_enabled(graded):  # to see where the module switches gradients off
            outputs = adapter.run(x, note, None, operations)
        found = first_tensor(outputs)
        scores.extend([] if found is None else [(recorder.number(found), tuple(found.shape))])
        tensors = [(path, o) for path, o in leaves(parts_of(outputs)) if isinstance(o, torch.Tensor)]
        heads.extend((path, recorder.number(o), tuple(o.shape)) for path, o in tensors)

    norms = (m for m in module.modules() if isinstance(m, layer_math.BATCH_NORMS))
    # Batch statistics need more than one image.
    images = shape[0] * (1 + any(m.running_mean is None for m in norms))
    before = adapter.made.settings()
    try:
        backend.trace(run, (images, *shape[1:]), "float32")
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        if isinstance(error, TypeError):
            refuse_arguments(adapter.inputs, module.forward, error)
        refusal = misfit(error, shape, rank(module))
        if refusal is None:
            raise
        raise refusal from error
    adapter.made.ran(before)
    paths = adapter.paths()
    calls = tuple(recorder.calls(functools.partial(describe, paths, len(shape), {}), paths))
    calls = calls if adapter.inputs.layout is None else tuple(adapter.inputs.layout.marked(calls, images))
    weights = ((id(w), w._version) for w in chain(module.parameters(), module.buffers()))
    constants = recorder.others.union(recorder.numbers[key] for key in weights if key in recorder.numbers)
    if operations and (strange := recorder.without_producer(calls, constants)):
        again: set = set()
        note = recording.watcher(lambda value: again.add(recorder.key(value)))
        backend.trace(lambda x: adapter.run(x, note, None, operations), (images, *shape[1:]), "float32")
        # Existed before this run, so not made of its images.
        constants |= {strange[key] for key in again & strange.keys()}
    outputs, shapes = (tuple(of) for of in zip(*scores, strict=True)) if scores else ((), ())
    known = {"ran": adapter.ran, "no_grad": no_grad}
    return Trace(calls, outputs, shapes, (), tuple(heads), constants, images, known, recorder.others)


def _identity(value: torch.Tensor) -> tuple[int, int]:
    """A key by which the results of in-place operations count as new values."""
    return id(value), 0 if value.is_inference() else value._version
