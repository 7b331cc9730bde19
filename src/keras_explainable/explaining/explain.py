"""`explain`: applies a method to many images."""

import functools
import inspect
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_explainable import backend, models, registry
from keras_explainable.errors import InputError, keep_partial
from keras_explainable.explaining.about import about_of, cause_of, evidence_note, outputs_note, random_note, remarked
from keras_explainable.explaining.arguments import check_arguments, shared_arguments
from keras_explainable.explaining.checks import open_batches, recorded
from keras_explainable.explaining.flaws import Flaws, range_warning
from keras_explainable.explaining.loop import run_steps, units_and_score
from keras_explainable.explaining.results import Explanation, Results, Tensors, ends
from keras_explainable.explaining.scope import model_scope
from keras_explainable.explaining.warning_line import user_stacklevel
from keras_explainable.runtime import remarks
from keras_explainable.runtime.compile_cache import Program


def explain(
    method: registry.Method,
    model: Any,
    x: Any,
    y: Any = None,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    steps: int | None = None,
    callbacks: Any = None,
    postprocessing: Callable | None = None,
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
    **method_params: Any,
) -> Explanation:
    """Explain a model's scores on many images, batch by batch like `model.predict`.

    Args:
        method: an explaining method, or the name of a registered one.
        model: a model as described in `ke.methods`.
        x: the images: an array or tensor; or a `tf.data.Dataset`, torch `DataLoader`, `keras.utils.PyDataset` or
            generator of batches, with or without the units to explain.
        y: the units to explain. For arrays: an int, (N,) or (N, K). None explains every unit. For any source, it can
            also be "predicted" or "top-3" (or another number): the unit, or the three units in descending order, that
            the model scores highest on each unmodified image. These replace the units that the source gives. With
            `score`, units are the columns of the score.
        batch_size: how many images are explained at once, unless `x` already gives batches. None means 32, or fewer
            if the images are large and PyTorch runs on a CPU, where that is faster. Scores and maps do not depend on
            it. A model that is a function is called with at most this many images, so batch_size=1 calls it with one
            image at a time.
        verbose: 0 shows no progress bar.
        steps: the number of batches to take from `x`. Only endless sources need it.
        callbacks: Keras callbacks. Their `on_predict_*` methods are called.
        postprocessing: a function of `(maps, axis=spatial axes)` or `(maps)` that changes the maps, such as
            `ke.filters.normalize`.
        resizing: True resizes the maps to the size of the images, False or None keeps their size, and a tuple or
            list is the size to resize them to.
        seed: the seed of methods that draw random numbers. The same seed gives the same maps. None is seed 0.
        run_eagerly, jit_compile: as in `model.compile`. By default, steps are compiled, with XLA only on JAX.
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
        as_numpy: True returns NumPy arrays, False returns the backend's tensors on the model's device.
        method_params: parameters of the method itself.

    Returns:
        `scores` (N, K) and `maps` (N, *S, K), in an `Explanation`.

    Raises:
        InputError, LayerError: the arguments do not fit the model or the method. If `x` is an array, this is raised
            before any computation.
    """
    method = registry.method_of(method)
    check_arguments(
        postprocessing,
        resizing,
        channels,
        {"run_eagerly": run_eagerly, "jit_compile": jit_compile, "as_numpy": as_numpy},
        placement,
    )
    y, score = units_and_score(y, method_params.get("score"))
    if score is not None:
        method_params["score"] = score
    check_parameters(method, method_params)
    method_params |= shared_arguments(method, model, method_params, seed, batch_size)

    whole = not registry.traits(method).repeats
    step = Explaining(method, method_params, postprocessing, resizing)
    model, leaf = models.with_channels(model, channels, placement == "stretch"), models.Leaf.of(leaf, shared)
    with model_scope(model, precision, run_eagerly, jit_compile):
        given = {**registry.traits(method).given, **method_params}
        source, total = open_batches(model, x, y, batch_size, score, leaf, steps, resizing, given)
        fetch, results = (backend.to_host, Results(total)) if as_numpy else (keras.ops.stop_gradient, Tensors())
        source, batches = recorded(source)
        outputs = run_steps(step, whole, model, source, verbose, callbacks, fetch)
        with remarks.collecting() as found:
            first, image = _collected(outputs, batches, results)
            bound = models.bind(model, image)
            about = about_of(method, *bound, method_params)
            scores, maps = results.done()
            probe = functools.partial(cause_of, method, model, method_params)
            notes = outputs_note(*bound, score), range_warning(model, first), evidence_note(about), random_note(*bound)
            _warn(results.flaws, postprocessing, about.get("signal"), probe, notes)
            return Explanation(scores, maps, about | remarked(found))


@dataclass(frozen=True)
class Explaining(Program):
    """Scores and maps of a batch, postprocessed and resized. With postprocessing, also the extremes of the raw maps."""

    method: Callable
    params: dict[str, Any]
    postprocessing: Callable | None
    resizing: bool | tuple | list | None

    def __call__(self, model: Any, inputs: Any, indices: Any) -> tuple:
        rank = len(inputs.shape) - 2
        if isinstance(self.resizing, (tuple, list)) and len(self.resizing) != rank:
            raise InputError(
                f"resizing={self.resizing} came for images with {rank} spatial axes: give a size for each."
            )
        params = dict(self.params)
        view = models.view(model, inputs, indices, params.pop("score", None))
        scores, maps = models.on_view(self.method, view, **params)
        maps, raw = models.of_images(maps, scores), []
        axis = tuple(range(max(1, len(maps.shape) - rank - 1), len(maps.shape) - 1))  # signed gradients: (B, K, *S, C)
        if self.postprocessing is not None:
            raw = [ends(maps, axis)] if axis else []
            maps = _postprocess(self.postprocessing, maps, axis, self.resizing)
        if self.resizing:
            if len(axis) < rank:
                raise InputError(
                    f"The signal has maps of shape {tuple(maps.shape[1:-1])}, and the images have {rank} spatial axes, "
                    "so the maps cannot be resized to the images: give resizing=False."
                )
            of_layer = registry.of_layer(self.method)
            windows = view.windows_of(params.get("layer"), params.get("layers")) if of_layer else None
            size = None if self.resizing is True else self.resizing
            maps = view.to_image_size(maps, size, axis[0], windows) if len(axis) == rank else maps
        return scores, maps, *raw


def partial_explain(method: Callable, **defaults: Any) -> Callable:
    """`explain` for one method, with other default arguments."""

    def explain_with(model: Any, x: Any, y: Any = None, **params: Any) -> Explanation:
        return explain(method, model, x, y, **{**defaults, **params})

    explain_with.__name__ = explain_with.__qualname__ = getattr(method, "__name__", "method")
    explain_with.__doc__ = (method.__doc__ or "") + "\n    It also takes all arguments of `ke.explain`."
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
            keep_partial(error, Explanation(*results.done()), f"{results.filled} images had been explained")
        raise
    return first, image


def _warn(flaws: Flaws, by: Callable | None, signal: str | None, probe: Callable, notes: Iterable) -> None:
    """Warn about flaws of scores and maps, and show the notes as warnings."""
    name = "the filter" if by is None else f"{registry.named(by)}()"
    for text in filter(None, (*flaws.warnings(name, signal and f"the layer ({signal})", probe), *notes)):
        warnings.warn(text, stacklevel=user_stacklevel())


def _postprocess(filter: Callable, maps: Any, axis: tuple, resizing: Any) -> Any:
    made = filter(maps, axis=axis) if registry.takes(filter, "axis") else filter(maps)
    shape = tuple(getattr(made, "shape", ()))
    rows = {*shape[:1], maps.shape[0]}.difference([None])
    if len(rows) > 1 or len(shape) <= (max(axis, default=1) if resizing else 1):
        came = f"maps of shape {shape}" if shape else registry.described(made)
        raise InputError(
            f"postprocessing={registry.named(filter)} returned {came}, and the maps were expected, with as many "
            f"images and spatial axes as in {tuple(maps.shape)}: give a function of (maps, axis=spatial axes) or "
            "(maps) that returns maps."
        )
    return made


def check_parameters(method: Callable, given: dict[str, Any]) -> None:
    """Raise if the method does not take one of the parameters."""
    known = registry.parameters(method)
    unknown = [] if known is None else [name for name in given if name not in known]
    if unknown:
        name, own = getattr(method, "__name__", str(method)), ", ".join(known or ()) or "none"
        shared = ", ".join(list(shared_parameters())[3:-1])
        raise InputError(f"{name} takes no {unknown[0]}=. Its parameters: {own}; and those of ke.explain: {shared}.")
