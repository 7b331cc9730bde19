"""What `explain` compiles: scores and maps of a batch of images by one method."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_explainable import models, registry
from keras_explainable.errors import InputError
from keras_explainable.explaining.results import ends
from keras_explainable.runtime.compile_cache import Program


@dataclass(frozen=True)
class Explaining(Program):
    """Scores and maps of a batch, postprocessed and resized. With postprocessing, also the extremes of the raw maps.

    With `with_units` a fourth part are the units that were explained. What there is none of is ()."""

    method: Callable
    params: dict[str, Any]
    postprocessing: Callable | None
    resizing: bool | tuple | list | None
    with_units: bool = False

    @property
    def score(self) -> Any:
        return self.params.get("score")

    @property
    def given(self) -> dict[str, Any]:
        """All parameters that are set, also those that were set when the method was made."""
        return {**registry.traits(self.method).given, **self.params}

    def __call__(self, model: Any, inputs: Any, indices: Any) -> tuple:
        return self.on(models.view(model, inputs, indices, self.score))

    def on(self, view: models.View) -> tuple:
        """The same, of a view of the score."""
        rank = view.rank
        if isinstance(self.resizing, (tuple, list)) and len(self.resizing) != rank:
            raise InputError(
                f"resizing={self.resizing} came for images with {rank} spatial axes: give a size for each."
            )
        params = {name: value for name, value in self.params.items() if name != "score"}
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
        if self.with_units:
            # Not `view.chosen()`: its check runs a black box once more.
            units = () if view.indices is None else models.unit_indices(view.indices, view.batch, None)
            return scores, maps, raw[0] if raw else (), units
        return scores, maps, *raw


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
