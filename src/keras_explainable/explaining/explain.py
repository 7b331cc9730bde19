"""`explain`: applies a method to many images."""

import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_explainable import backend, models, registry
from keras_explainable.errors import InputError, keep_partial
from keras_explainable.explaining.about import (
    about_of,
    cause_of,
    evidence_note,
    outputs_note,
    random_note,
    remarked,
    warn,
)
from keras_explainable.explaining.arguments import check_arguments, named_units, shared_arguments
from keras_explainable.explaining.checks import open_batches, recorded
from keras_explainable.explaining.flaws import range_warning
from keras_explainable.explaining.loop import run_steps, units_and_score
from keras_explainable.explaining.program import Explaining
from keras_explainable.explaining.results import Explanation, Results, Tensors
from keras_explainable.explaining.scope import model_scope
from keras_explainable.explaining.several import (
    Explanations,
    Several,
    SeveralResults,
    chosen_methods,
    for_each,
    report_failed,
)
from keras_explainable.runtime import remarks


def explain(
    method: registry.Method | Sequence[registry.Method] | Mapping[str, Any],
    model: Any,
    x: Any,
    y: Any = None,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    steps: int | None = None,
    callbacks: Any = None,
    postprocessing: Callable | str | None = None,
    resizing: bool | tuple | None = True,
    seed: int | None = None,
    run_eagerly: bool | None = None,
    jit_compile: bool | None = None,
    precision: str | None = None,
    as_numpy: bool = True,
    leaf: Any = None,
    channels: int | str | None = None,
    shared: Any = None,
    placement: str = "measured",
    labels: Sequence[str] | None = None,
    **method_params: Any,
) -> Any:
    """Explain a model's scores on many images, batch by batch like `model.predict`.

    Args:
        method: an explaining method, or the name of a registered one. Or several: a list of these, or a dictionary
            {label: method} or {label: (method, its own parameters)}. Passes of the model that several methods need run
            once, with the same maps as each method alone. Memory holds one pass with gradients, and the maps of a batch
            by all methods.
        model: a model as described in `ke.methods`.
        x: the images: an array or tensor; or a `tf.data.Dataset`, torch `DataLoader`, `keras.utils.PyDataset` or
            generator of batches, with or without the units to explain.
        y: the units to explain. For arrays: an int, (N,) or (N, K). None explains every unit. For any source, it can
            also be "predicted" or "top-3" (or another number): the unit, or the three units in descending order, that
            the model scores highest on each unmodified image. These replace the units that the source gives. With
            `score`, units are the columns of the score. With `labels`, also a name, or a list of names.
        batch_size: how many images are explained at once, unless `x` already gives batches. None means 32, or fewer
            if the images are large and PyTorch runs on a CPU, where that is faster. Scores and maps do not depend on
            it. A model that is a function is called with at most this many images, so batch_size=1 calls it with one
            image at a time.
        verbose: 0 shows no progress bar.
        steps: the number of batches to take from `x`. Only endless sources need it.
        callbacks: Keras callbacks. Their `on_predict_*` methods are called.
        postprocessing: a function of `(maps, axis=spatial axes)` or `(maps)` that changes the maps, such as
            `ke.filters.normalize`. "usual" is what the shortcut of a registered method applies, as `ke.gradcam` does.
        resizing: True resizes the maps to the size of the images, False or None keeps their size, and a tuple or
            list is the size to resize them to.
        seed: the seed of methods that draw random numbers. The same seed gives the same maps. None is seed 0.
        run_eagerly, jit_compile: as in `model.compile`. By default, steps are compiled on TensorFlow and JAX, with XLA
            only on JAX. jit_compile=True also compiles them with XLA on TensorFlow, and with `torch.compile` on
            PyTorch. There the first call takes minutes, and a step that cannot be compiled runs uncompiled, after a
            warning.
        precision: "bfloat16" or "float16" runs a float32 model and its gradients in that type. Sums over gradients,
            scores and maps stay float32, and the model is not changed. None keeps the model's own type.
        leaf: for a model with several inputs, the input that holds the images: its name or index, or a tuple of these
            if the inputs are nested. `x` is then a tuple, list or dictionary of arrays with one row per image, or gives
            such batches. All other inputs are passed to the model unchanged.
        shared: for a model with several inputs, the inputs that are the same for all images and have no row per image,
            such as the texts of an image-text model: a name, index or tuple as in `leaf`, or a list of these.
        channels: the channel axis of the images, if the model does not show it: its number, "first", "last" or
            "none". None uses the axis that the model takes.
        placement: where the map of a hidden signal lies in the images. "measured" lays it over everything that the
            model sees of the image, unless the signal's cells are found to be off by more than half a cell. In that
            case the map is laid where the cells are, and `.about["placement"]` says where. "stretch" always lays it
            over everything that the model sees.
        labels: the names of all classes, in the order of the model's units, for names in `y`.
        as_numpy: True returns NumPy arrays, False returns the backend's tensors on the model's device.
        method_params: parameters of the method itself. Each of several methods gets those that it takes.

    Returns:
        `scores` (N, K) and `maps` (N, *S, K), in an `Explanation`, whose `.units` (N, K) says which units these are,
        and whose `.about` what was explained. For several methods {label: Explanation}; methods that raise are left
        out with a warning, and their exceptions are in its attribute `failed`.

    Raises:
        InputError, LayerError: the arguments do not fit the model or the method, or each of several methods. If `x` is
            an array, this is raised before any computation.
    """
    several = isinstance(method, (list, tuple, Mapping))
    check_arguments(
        postprocessing,
        resizing,
        channels,
        {"run_eagerly": run_eagerly, "jit_compile": jit_compile, "as_numpy": as_numpy},
        placement,
    )
    y, score = units_and_score(named_units(y, labels), method_params.get("score"))
    if score is not None:
        method_params["score"] = score
    programs = _programs(method, model, method_params, seed, batch_size, postprocessing, resizing)
    step: Any = Several(programs) if several else next(iter(programs.values()))
    whole = not (several or registry.traits(step.method).repeats)
    model, leaf = models.with_channels(model, channels, placement == "stretch"), models.Leaf.of(leaf, shared)
    with model_scope(model, precision, run_eagerly, jit_compile):
        rows = {name: value for program in programs.values() for name, value in program.given.items()}
        source, total = open_batches(model, x, y, batch_size, score, leaf, steps, resizing, rows)
        fetch, of_one = (
            (backend.to_host, functools.partial(Results, total)) if as_numpy else (keras.ops.stop_gradient, Tensors)
        )
        results: Any = SeveralResults(programs, of_one) if several else of_one()
        source, batches = recorded(source)
        outputs = run_steps(step, whole, model, source, verbose, callbacks, fetch)
        with remarks.collecting() as found:
            first, image = _collected(outputs, batches, results)
            view = models.view(*models.bind(model, image), score=score)
            notes = outputs_note(view), range_warning(model, first), random_note(view)
            warn(filter(None, notes))
            if not several:
                return _explanation(step, results, model, view, found)
            report_failed(step.failed, results)
            return Explanations(
                {
                    label: _explanation(program, results.of[label], model, view, found.get(label, {}), label)
                    for label, program in step.steps.items()
                },
                step.failed,
            )


def _programs(
    method: Any, model: Any, params: dict, seed: Any, batch_size: Any, postprocessing: Any, resizing: Any
) -> dict[str, Explaining]:
    """By label, what each method runs on a batch."""
    if isinstance(method, (list, tuple, Mapping)):
        chosen = chosen_methods(method)
    else:
        method = registry.method_of(method)
        chosen = {registry.named(method): (method, params)}
    for function, own in chosen.values():
        check_parameters(function, own)
    return {
        label: Explaining(
            function,
            own | shared_arguments(function, model, own, seed, batch_size),
            registry.usual_postprocessing(function) if postprocessing == "usual" else postprocessing,
            resizing,
            with_units=True,
        )
        for label, (function, own) in for_each(chosen, params).items()
    }


def _explanation(
    program: Explaining, results: Any, model: Any, view: models.View, found: dict, label: str | None = None
) -> Explanation:
    """The explanation by one method. Warn about flaws of its scores and maps."""
    about = about_of(program.method, view, program.params)
    scores, maps = results.done()
    by = program.postprocessing
    name = "the filter" if by is None else f"{registry.named(by)}()"
    signal = about.get("signal")
    probe = functools.partial(cause_of, program.method, model, program.params)
    notes = *results.flaws.warnings(name, signal and f"the layer ({signal})", probe), evidence_note(about)
    warn(filter(None, notes), label)
    return Explanation(scores, maps, about | remarked(found, label), results.units)


# What the docstring of every shortcut ends with.
COMMON = """
    Common arguments:
        model: a Keras model or a `torch.nn.Module`; for methods that need only a black box, also any function from
            images to scores. It is left unchanged.
        x: the images (N, H, W, C), in the model's layout and scale, or a dataset of batches.
        y: the units to explain: one for all images, one each (N,), or several each (N, K); "predicted", "top-3"; None
            for every unit; with labels=[...], names of classes.
"""
LAYER = """\
        layer: the layer to explain: a path from `ke.inspection.signals(model)`. None takes the last one that shows the
            image.
"""
REST = """
    It also takes all arguments of `ke.explain`. Returns scores (N, K), which are logits, not probabilities, and maps
    (N, H, W, K)."""


def partial_explain(method: Callable, **defaults: Any) -> Callable:
    """`explain` for one method, with other default arguments."""

    def explain_with(model: Any, x: Any, y: Any = None, **params: Any) -> Explanation:
        return explain(method, model, x, y, **{**defaults, **params})

    explain_with.__name__ = explain_with.__qualname__ = getattr(method, "__name__", "method")
    explain_with.__doc__ = (method.__doc__ or "") + COMMON + (LAYER if registry.takes(method, "layer") else "") + REST
    explain_with.__signature__ = _signature(method, explain_with, defaults)  # type: ignore[attr-defined]
    return explain_with


@functools.cache
def shared_parameters() -> Mapping[str, inspect.Parameter]:
    """The parameters of `explain`, inspected once for all shortcuts."""
    return inspect.signature(explain).parameters


def _signature(method: Callable, shortcut: Callable, defaults: dict[str, Any]) -> inspect.Signature:
    """The signature of a shortcut: the model and images, the method's own parameters, and those of `explain`."""
    model, x, y, params = inspect.signature(shortcut).parameters.values()
    own = registry.parameters(method)
    if own is None:
        return inspect.Signature([model, x, y, params])
    shared = dict(list(shared_parameters().items())[4:-1])
    named = {**own, **shared}  # both may have a seed
    return inspect.Signature(
        [model, x, y, *(p.replace(kind=p.KEYWORD_ONLY, default=defaults.get(n, p.default)) for n, p in named.items())]
    )


def _collected(outputs: Iterator, batches: deque, results: Any) -> tuple[Any, Any]:
    """Collect the results of all batches. Return the images of the first batch and the first image of the last one."""
    first = None
    try:
        for image, output in outputs:  # noqa: B007 (the last image is returned)
            batch = batches.popleft()
            first = batch[0] if first is None else first
            results.add(output, batch)
    except (Exception, KeyboardInterrupt) as error:
        if results.filled:
            done = results.done()
            partial = done if isinstance(done, dict) else Explanation(*done)
            keep_partial(error, partial, f"{results.filled} images had been explained")
        raise
    return first, image


def check_parameters(method: Callable, given: dict[str, Any]) -> None:
    """Raise if the method does not take one of the parameters."""
    known = registry.parameters(method)
    unknown = [] if known is None else [name for name in given if name not in known]
    if unknown:
        name, own = getattr(method, "__name__", str(method)), ", ".join(known or ()) or "none"
        shared = ", ".join(list(shared_parameters())[3:-1])
        raise InputError(f"{name} takes no {unknown[0]}=. Its parameters: {own}; and those of ke.explain: {shared}.")
