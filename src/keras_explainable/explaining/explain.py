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
from keras_explainable.errors import InputError
from keras_explainable.explaining.about import about_of, cause_of, evidence_note, outputs_note, random_note, remarked
from keras_explainable.explaining.arguments import check_arguments, lent
from keras_explainable.explaining.blame import outside
from keras_explainable.explaining.checks import opened, remembered
from keras_explainable.explaining.flaws import Flaws, range_warning
from keras_explainable.explaining.loop import asked, run_steps
from keras_explainable.explaining.results import Explanation, Results, Tensors, ends
from keras_explainable.runtime import remarks
from keras_explainable.runtime.compile_cache import Program, options


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
    """Explain a model's scores on many images, batch by batch, as `model.predict` predicts them.

    Args:
        method: an explaining method, or the name of a registered one.
        model: see the contract in `ke.methods`.
        x: images as an array or tensor; or a `tf.data.Dataset`, torch `DataLoader`, `keras.utils.PyDataset` or
            generator of batches, with or without the units to explain.
        y: the units to explain, for arrays: an int, (N,) or (N, K); None for every unit. Of any source, also
            "predicted" for the unit that the model scores highest on each image as it came, and "top-3" (or another
            number) for the highest three, in falling order, instead of those that the source gives; with `score`, of
            its columns.
        batch_size: images explained at once, where `x` is no source of batches itself. None: 32, but fewer large ones
            on PyTorch's CPU, which is faster so. Scores and maps do not depend on it. A model that is a function is
            called with no more images than that: with one at a time for batch_size=1.
        verbose: 0 for no progress bar.
        steps: batches to take from `x`; needed only for sources without an end.
        callbacks: Keras callbacks; their `on_predict_*` are called.
        postprocessing: a function of `(maps, axis=spatial axes)` or `(maps)` that changes the maps, such as
            `ke.filters.normalize`.
        resizing: True to resize maps to the images, False not to, or a size.
        seed: for methods that draw random numbers. The same seed gives the same maps; None is seed 0.
        run_eagerly, jit_compile: as in `model.compile`; by default compiled, with XLA only on JAX.
        precision: "bfloat16" or "float16", for what a model of float32 computes, also its gradients; sums over them,
            scores and maps stay float32, and nothing of the model is changed. None is the model's own.
        leaf: of a model of several inputs, which of them is the images: its name, index, or a tuple of them. `x` is a
            tuple, list or dictionary of arrays with a row for each image, or gives such batches. All but the images
            are fed to the model as they are.
        shared: of several inputs, those that are the same for all images and have no row for each, as the texts of a
            model of images and texts: a name, index or tuple of them, or a list of such.
        channels: which axis of the images has the channels: its number, "first", "last" or "none", for a model that
            does not show it. None: as the model takes them.
        placement: where a hidden signal's map lies in the images: "measured", which is over all that the model sees of
            them, as usual, unless it is measured that the signal's cells are off from there by more than half a cell
            (`.about["placement"]` then says where they are); or "stretch", over all of it in any case.
        as_numpy: whether NumPy arrays are returned, or the backend's own tensors on the model's device.
        method_params: the method's own.

    Returns:
        `scores` (N, K) and `maps` (N, *S, K), in an `Explanation`.

    Raises:
        InputError, LayerError: what came does not fit; before any work where `x` is an array.
    """
    method = registry.method_of(method)
    check_arguments(
        postprocessing,
        resizing,
        channels,
        {"run_eagerly": run_eagerly, "jit_compile": jit_compile, "as_numpy": as_numpy},
        placement,
    )
    y, score = asked(y, method_params.get("score"))
    if score is not None:
        method_params["score"] = score
    check_parameters(method, method_params)
    method_params |= lent(method, model, method_params, seed, batch_size)

    whole = not getattr(method, "repeats", False)
    step = Explaining(method, method_params, postprocessing, resizing)
    model, leaf = models.told(model, channels, placement == "stretch"), models.Leaf.of(leaf, shared)
    with models.unchanging(), models.blamed(model):
        source, total = opened(model, x, y, batch_size, score, leaf, steps, resizing)
        fetch, results = (backend.to_host, Results(total)) if as_numpy else (keras.ops.stop_gradient, Tensors())
        given = getattr(method, "given", {}) | method_params
        source, batches = remembered(source)
        outputs = run_steps(step, whole, model, source, verbose, callbacks, fetch, score, given)
        with (
            remarks.kept() as found,
            options(run_eagerly, jit_compile),
            models.computing_in(precision),
            models.adapter(model).device(),
        ):
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
    """Scores and maps of a batch, postprocessed and resized; if postprocessed, also the ends of the raw maps."""

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
                    f"The signal has maps of shape {tuple(maps.shape[1:-1])}, and the images {rank} axes of space, so "
                    "they cannot be brought to the images' size: give resizing=False."
                )
            of_layer = registry.of_layer(self.method)
            windows = view.windows_of(params.get("layer"), params.get("layers")) if of_layer else None
            size = None if self.resizing is True else self.resizing
            maps = view.laid(maps, size, axis[0], windows) if len(axis) == rank else maps
        return scores, maps, *raw


def partial_explain(method: Callable, **defaults: Any) -> Callable:
    """`explain` for one method, with parameters of its own."""

    def explain_with(model: Any, x: Any, y: Any = None, **params: Any) -> Explanation:
        return explain(method, model, x, y, **{**defaults, **params})

    explain_with.__name__ = explain_with.__qualname__ = getattr(method, "__name__", "method")
    explain_with.__doc__ = (method.__doc__ or "") + "\n    All arguments of `ke.explain` are taken as well."
    explain_with.__signature__ = _signature(method, explain_with, defaults)  # type: ignore[attr-defined]
    return explain_with


@functools.cache
def shared_parameters() -> Mapping[str, inspect.Parameter]:
    """The parameters of `explain`, read once for all shortcuts."""
    return inspect.signature(explain).parameters


def _signature(method: Callable, shortcut: Callable, defaults: dict[str, Any]) -> inspect.Signature:
    """The signature of a shortcut: the model and images, the method's own parameters, and those of `explain`."""
    model, x, y, params = inspect.signature(shortcut).parameters.values()
    own = registry.parameters(method)
    if own is None:
        return inspect.Signature([model, x, y, params])
    shared = dict(list(shared_parameters().items())[4:-1])
    named = {**own, **shared}  # a seed is both's
    return inspect.Signature(
        [model, x, y, *(p.replace(kind=p.KEYWORD_ONLY, default=defaults.get(n, p.default)) for n, p in named.items())]
    )


def _collected(outputs: Iterator, batches: deque, results: Any) -> tuple[Any, Any]:
    """Collect the results of all batches: the images of the first batch, and the first image of the last one."""
    first = None
    try:
        for image, output in outputs:  # noqa: B007 (the last one is returned)
            batch = batches.popleft()
            first = batch[0] if first is None else first
            results.add(output, batch)
    except (Exception, KeyboardInterrupt) as error:
        if results.filled:
            error.partial = Explanation(*results.done())  # type: ignore[union-attr]
            error.add_note(f"{results.filled} images had been explained by then: see this exception's `.partial`.")
        raise
    return first, image


def _warn(flaws: Flaws, by: Callable | None, signal: str | None, probe: Callable, notes: Iterable) -> None:
    """Warn of what is wrong with scores and maps, and of the notes."""
    name = "the filter" if by is None else f"{registry.named(by)}()"
    for text in filter(None, (*flaws.warnings(name, signal and f"the layer ({signal})", probe), *notes)):
        warnings.warn(text, stacklevel=outside())


def _postprocess(filter: Callable, maps: Any, axis: tuple, resizing: Any) -> Any:
    made = filter(maps, axis=axis) if registry.takes(filter, "axis") else filter(maps)
    shape = tuple(getattr(made, "shape", ()))
    rows = {*shape[:1], maps.shape[0]}.difference([None])
    if len(rows) > 1 or len(shape) <= (max(axis, default=1) if resizing else 1):
        came = f"maps of shape {shape}" if shape else registry.told(made)
        raise InputError(
            f"postprocessing={registry.named(filter)} returned {came}, and the maps were expected, as many as came and "
            f"with as many axes of space, {tuple(maps.shape)}: a function of (maps, axis=spatial axes) or (maps) to "
            "maps."
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
