"""Explains images with a model that is loaded once and compiled once. One thread does all the work on the model."""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import keras_explainable as ke
from keras_explainable.distributed.reading import Batch
from keras_explainable.distributed.settings import Job, ModelSource, check_same
from keras_explainable.distributed.storage import Place
from keras_explainable.errors import InputError

COLUMN = "column:"
FITS = {"stretch": "squash", "crop": "crop"}  # what a model is known to take, as `sources.decode` names it
NOTES = 8  # that a record keeps
FILLER = 0  # the unit of images that are not explained
Arrays = dict[str, np.ndarray]


class Explainer:
    """A model in memory, and what a job explains of it.

    Raises:
        InputError: the model is not the one that the run was begun with.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.loaded = load(job.model, job.out, job.storage_options)
        self.names = list(job.model.labels or self.loaded.class_names or ())
        self.found = {
            "backend": _backend(),
            "weights": digest(self.loaded.model),
            "size": list(self.loaded.size),
            "scale": self.loaded.preprocess.name,
            "fit": job.fit or FITS[self.loaded.preprocess.fit],
            "classes": self.names or None,
            "draws": any(ke.registry.takes(_function(one), "seed") for _, one in self._methods()),
        }
        self.go_on(job)

    def go_on(self, job: Job) -> None:
        """Take the job of a run that was begun."""
        self.job = job
        if job.found:
            check_same(job.out, job.found, self.found)

    @property
    def fit(self) -> str:
        """How images are brought to the model's size."""
        return str(self.found["fit"])

    def first(self) -> tuple[dict[str, tuple[int, ...]], dict[str, np.ndarray]]:
        """For each method the shape (h, w, K) of its maps, and the matrices that resize them, if they are small. This
        compiles what every batch runs."""
        size = tuple(self.loaded.size)
        blank = np.random.default_rng(0).integers(0, 256, (self.job.batch_size, *size, 3), "uint8")
        arrays, _, _ = self.part([Batch(blank, {})], [None] * self.job.batch_size)
        shapes: dict[str, tuple[int, ...]] = {}
        matrices: dict[str, np.ndarray] = {}
        for label, _ in self._methods():
            maps = arrays[f"{label}/maps"]
            if maps.ndim != 4:
                raise InputError(
                    f"{label} gives maps of shape {maps.shape[1:]} for each image, and (height, width, units) was "
                    "expected: leave out what keeps the channels, such as reduce=None."
                )
            shapes[label] = maps.shape[1:]
            if maps.shape[1:3] != size:
                named = {k: v for k, v in self._own(label).items() if k in ("layer", "layers", "channels", "placement")}
                inputs = self.loaded.preprocess(blank[:1])
                both = ke.inspection.resizing(self._method(label), self.loaded.model, inputs, maps.shape[1:3], **named)
                matrices |= {f"{label}/rows": both[0], f"{label}/columns": both[1]}
        return shapes, matrices

    def part(self, batches: Iterable[Batch], labels: Sequence[Any]) -> tuple[Arrays, dict[int, str], list[str]]:
        """Explain the images of a part.

        Args:
            batches: its images, in batches of one size.
            labels: for each image what the column of units has, if units are taken from there.

        Returns:
            Scores and maps of each method, and units; the reasons of images that were set aside, by their places; and
            notes about what was explained.
        """
        aside: dict[int, str] = {}
        units = self._units(labels, aside)
        inputs = self._inputs(batches, units, aside)
        y = None if units is not None or self.job.unit == "all" else self.job.unit
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            results = ke.explain(
                self.job.method,
                self.loaded.model,
                inputs,
                y,
                verbose=0,
                resizing=self.job.resolution == "image",
                labels=self.names if isinstance(y, str) and self.names else None,
                **{"postprocessing": "usual", **self.job.params},
            )
        if not isinstance(results, ke.Explanation):
            for error in results.failed.values():
                raise error
        arrays: Arrays = {}
        for label, one in (self._labelled(results)).items():
            arrays |= {f"{label}/scores": one.scores, f"{label}/maps": one.maps}
            chosen = np.arange(one.scores.shape[1])[None] if one.units is None else one.units
            arrays["units"] = np.broadcast_to(chosen, one.scores.shape).astype("int32")
        return arrays, aside, _notes(warned)

    def _inputs(self, batches: Iterable[Batch], units: np.ndarray | None, aside: dict[int, str]) -> Iterator[Any]:
        """The images as the model takes them. This runs in a thread of its own, so it must not use the model."""
        first = 0
        for batch in batches:
            aside.update({first + i: reason for i, reason in batch.aside.items() if first + i not in aside})
            inputs = self.loaded.preprocess(batch.pixels)
            rows = slice(first, first + len(inputs))
            yield inputs if units is None else (inputs, units[rows])
            first += len(inputs)

    def _units(self, labels: Sequence[Any], aside: dict[int, str]) -> np.ndarray | None:
        """The unit of each image from the column of units; None if units are not taken from there."""
        if not str(self.job.unit).startswith(COLUMN):
            return None
        units = np.full(-(-len(labels) // self.job.batch_size) * self.job.batch_size, FILLER, "int32")
        for i, label in enumerate(labels):
            number = self.names.index(label) if isinstance(label, str) and label in self.names else label
            if isinstance(number, int) and 0 <= number < self.count:
                units[i] = number
            elif self.job.found:  # not of the first batch, which has no labels
                aside[i] = f"The column of units has {label!r}, and the model has {self.count} units."
        return units

    @property
    def count(self) -> int:
        """The number of the model's units."""
        if not hasattr(self, "_count"):
            blank = self.loaded.preprocess(np.zeros((1, *self.loaded.size, 3), "uint8"))
            self._count = ke.loading.unit_scores(self.loaded, blank).shape[-1]
        return self._count

    def _labelled(self, results: Any) -> Mapping[str, Any]:
        return {self._methods()[0][0]: results} if isinstance(results, ke.Explanation) else results

    def _methods(self) -> list[tuple[str, Any]]:
        """The label of each method, and what was given for it."""
        method = self.job.method
        if isinstance(method, Mapping):
            return list(method.items())
        some = method if isinstance(method, list | tuple) else [method]
        return [(one if isinstance(one, str) else one.__name__, one) for one in some]

    def _method(self, label: str) -> Any:
        return _function(dict(self._methods())[label])

    def _own(self, label: str) -> dict[str, Any]:
        given = dict(self._methods())[label]
        return {**self.job.params, **(given[1] if isinstance(given, list | tuple) else {})}


def _function(given: Any) -> Any:
    """The method of an item of a dictionary of methods, with or without its own parameters."""
    return ke.registry.method_of(given[0] if isinstance(given, list | tuple) else given)


def saved(model: Any) -> bytes:
    """A `keras.Model` as a file.

    Raises:
        InputError: it is something else.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise InputError(
            f"A model of type {type(model).__name__} came, and workers load a model by its name, a file, or a function "
            'that makes it: give "package.module:factory".'
        )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def load(model: ModelSource, out: str, options: Mapping[str, Any]) -> Any:
    """The model, with the preprocessing of its images. A file is copied to this machine first, if it lies in OUT."""
    with TemporaryDirectory() as folder:
        name = model.name
        if name is not None and name.startswith(f"{out}/"):
            file = Path(folder) / Path(name).name
            file.write_bytes(Place(out, options).read(name.removeprefix(f"{out}/")))
            name = str(file)
        if model.weights is None:
            _seed()  # random weights must be the same in every worker
        return ke.load(name, model.weights, model.safe_mode, model.scale, model.size)


def digest(model: Any) -> str:
    """The SHA-256 of a model's weights."""
    import keras

    state = model.state_dict().values() if hasattr(model, "state_dict") and not isinstance(model, keras.Model) else None
    found = hashlib.sha256()
    for value in model.weights if state is None else state:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(value))
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def _backend() -> str:
    import keras

    return keras.backend.backend()


def _seed() -> None:
    import keras

    keras.utils.set_random_seed(0)


def _notes(warned: Sequence[Any]) -> list[str]:
    """The texts of a few of the warnings that are meant for users, each once."""
    return list(dict.fromkeys(str(one.message) for one in warned if issubclass(one.category, UserWarning)))[:NOTES]
