"""Models with several inputs, one of which holds the images. The others are passed on unchanged.

`Several` is what the user gave. `Bound` is a model with the other inputs attached; it is explained as if it took images
alone. When P copies of a batch run at once, they follow each other batch by batch, and row i uses row i mod B of the
others."""

import copy
import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

import keras
import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.errors import ExplainError, InputError, shortly
from keras_explainable.models.leaf import Leaf as Leaf
from keras_explainable.models.structures import alternatives, leaves, mapped, path_text, placed
from keras_explainable.models.trace import INPUT

HOW = (
    "pass all of them as x, a tuple, list or dictionary of arrays, and name by leaf= the one that holds the images: "
    "x={'image': images, 'age': ages}, leaf='image'"
)
WRAPPER = (
    "For inputs that are not arrays (a list of dictionaries, a flag), write a small nn.Module, or keras.Model, around "
    "this one, which keeps its gradients and layers: def forward(self, images): return self.model(images, the_rest)"
)

ONE_IMAGE = "for one image add the batch axis, x[None], and to a dataset of single images .batch(n)"
IMAGE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Inputs:
    """What a model takes: a structure `tree` of numbers, where 0 stands for the images and i for the i-th of the
    `others`."""

    tree: Any = 0
    others: tuple = ()
    paths: tuple[tuple, ...] = ((),)  # the paths of the images, and of the others
    shared: frozenset[int] = frozenset()  # numbers of the others that are the same for all images
    channels: Any = None  # the user's `channels` argument
    dtype: str | None = None  # the type of the user's images, if the model's weights do not determine it
    layout: Any = None  # a `models.image_layout.ImageLayout` if methods see images of another form; None: as they are
    stretched: bool = False  # whether maps cover all that the model sees of the image, wherever the signal's cells lie

    @property
    def alone(self) -> bool:
        """Whether it takes images and nothing else."""
        return isinstance(self.tree, int)

    @property
    def form(self) -> str:
        """The structure as a hashable value."""
        return repr(
            (self.tree, self.paths, sorted(self.shared), self.channels, self.dtype, self.layout, self.stretched)
        )

    @property
    def kinds(self) -> tuple:
        """All that a trace of the model depends on, as a hashable value."""
        of_all = ((*o.shape, keras.backend.standardize_dtype(o.dtype)) for o in self.others)
        return self.form, *(kind if i in self.shared else kind[1:] for i, kind in enumerate(of_all))

    def each(self, function: Callable) -> "Inputs":
        """A copy with `function` applied to each array that has a row for each image."""
        return self.fed(o if i in self.shared else function(o) for i, o in enumerate(self.others))

    def fed(self, others: Iterable) -> "Inputs":
        """A copy with other arrays."""
        return replace(self, others=tuple(others))

    def around(self, x: Any, see: Callable = lambda point, value: value) -> Any:
        """The whole structure around the images, as the user gives it. Each of the others is passed through `see(point,
        value)` as a copy."""
        rows = self.each(lambda other: _rows(other, x)).others
        copies = (ops.copy(ops.convert_to_tensor(other)) for other in rows)  # a model may work in place
        seen = [see(INPUT._replace(part=i), other) for i, other in enumerate(copies, 1)]
        given = x if self.layout is None else see(INPUT._replace(link="given"), self.layout.restored(x))
        return mapped(self.tree, [given, *seen].__getitem__)

    def arguments(self, function: Callable, inputs: Any, own: tuple = ()) -> tuple[tuple, dict]:
        """The arguments with which to call a function: a tuple or dictionary of inputs is spread if the function takes
        it like that, else passed as one argument. Parameters named in `own` do not count."""
        if self.alone:
            return (inputs,), {}
        named = isinstance(inputs, Mapping) and all(isinstance(key, str) for key in inputs)
        several: list = [((), dict(inputs))] if named else []
        several += [(tuple(inputs), {})] if isinstance(inputs, (tuple, list)) else []
        one: tuple = ((inputs,), {})
        order = [one, *several] if isinstance(inputs, list) else [*several, one]
        for args, kwargs in order:
            if _takes(function, args, kwargs, own):
                return args, kwargs
        raise InputError(
            f"The model takes {', '.join(_parameters(function, own))}, and x with leaf= has {self._leaves()}: leave "
            "out what is not an input of the model, and name the rest as it does."
        )

    def _leaves(self) -> str:
        return ", ".join(map(path_text, self.paths))

    def check(self, function: Callable, own: tuple = ()) -> None:
        """Raise if images alone came for a function that needs more."""
        if self.alone and not _takes(function, (None,), {}, own):
            _refuse([n for n, p in _parameters(function, own).items() if p.default is p.empty], f". {WRAPPER}")

    def shape(self, model: keras.Model, own: tuple = ()) -> tuple | None:
        """The shape of images that a Keras model has declared; None if it has not.

        Raises:
            InputError: images alone came and the model takes more, or vice versa.
        """
        inputs = _declared(model)
        if not inputs:
            self.check(model.call, own)
            return None
        if self.alone and len(inputs) > 1:
            _refuse([i.name for i in inputs])
        if self.others and len(inputs) == 1:
            raise InputError(f"The model takes images alone, and {1 + len(self.others)} arrays came: leave out leaf=.")
        least = sum(not getattr(i, "optional", False) for i in inputs)
        fits = least <= len(self.paths) <= len(inputs)
        known = not isinstance(self.tree, dict) or all(_named(model, path) is not None for path in self.paths)
        if len(inputs) > 1 and not (fits and known):
            raise InputError(
                f"The model takes {', '.join(repr(i.name) for i in inputs)}, and x with leaf= has {self._leaves()}: "
                "leave out what is not an input of the model, and name the rest as it does."
            )
        found = inputs[0] if len(inputs) == 1 else _named(model, self.paths[0])
        return None if found is None else tuple(found.shape)


def _refuse(names: list[str], more: str = "") -> NoReturn:
    raise InputError(f"The model takes {len(names)} inputs ({', '.join(names)}), and images alone came: {HOW}{more}.")


def refuse_arguments(inputs: Inputs, function: Callable, error: TypeError) -> NoReturn:
    """Raise and say what a module takes, after it could not take several inputs as they came."""
    if inputs.alone:
        raise error
    line = str(error).partition("\n")[0]
    raise InputError(
        f"The module could not take {len(inputs.paths)} inputs ({', '.join(map(path_text, inputs.paths))}): {line}. "
        f"Its forward takes ({', '.join(_parameters(function, ()))}): name the inputs as it does, and leave "
        "out the rest."
    ) from error


class Several:
    """Images, and arrays with a row for each of them. They are sliced and counted as the images alone would be."""

    def __init__(self, images: Any, inputs: Inputs) -> None:
        self.images, self.inputs = images, inputs

    @classmethod
    def of(cls, x: Any, leaf: Any) -> "Several":
        """Make it from a tuple, list or dictionary of arrays, possibly nested, whose images are at `leaf`: a name, an
        index, or a tuple of them.

        Raises:
            InputError: there is no such leaf, or an array does not have a row for each image.
        """
        if not isinstance(x, (tuple, list, Mapping)):
            raise InputError(
                f"leaf={shortly(leaf)} came for inputs of type {type(x).__name__}, and a tuple, list or dictionary of "
                "arrays was expected; or a source of batches, each (such a structure,) or (such a structure, y)."
            )
        found: dict[tuple, Any] = dict(leaves(x))
        leaf, shared = leaf if isinstance(leaf, Leaf) else (leaf, ())
        for path in shared:
            if path not in found or path == leaf:
                raise InputError(f"shared={path_text(path)} came, and x has no such leaf: use {alternatives(x)}.")
        at = leaf if isinstance(leaf, tuple) else (leaf,)
        if not all(isinstance(name, Hashable) for name in at) or at not in found:
            raise InputError(f"leaf={leaf!r} came, and x has no such leaf: use {alternatives(x)}.")
        order = (at, *(path for path in found if path != at))
        arrays = [
            v if hasattr(v, "shape") and hasattr(v, "dtype") else np.asarray(v) for v in map(found.__getitem__, order)
        ]
        number = tuple(arrays[0].shape)[:1]
        for path, array in zip(order, arrays, strict=True):
            if number and tuple(array.shape)[:1] != number and path not in shared:
                raise InputError(
                    f"Leaf {path_text(path)} of x has shape {tuple(array.shape)}, and there are {number[0]} images: "
                    f"give a row for each image, or say shared={path_text(path)} if it is the same for all of them. "
                    f"{WRAPPER}."
                )
        tree = placed(x, {path: i for i, path in enumerate(order)})
        whole = frozenset(i for i, path in enumerate(order[1:]) if path in shared)
        return cls(arrays[0], Inputs(tree, tuple(arrays[1:]), order, whole))

    def map(self, function: Callable) -> "Several":
        return Several(function(self.images), self.inputs.fed(map(function, self.inputs.others)))

    def __getitem__(self, rows: slice) -> "Several":
        return Several(self.images[rows], self.inputs.each(lambda array: array[rows]))

    def __len__(self) -> int:
        return int(self.shape[0])

    @property
    def shape(self) -> tuple:
        return tuple(self.images.shape)

    @property
    def dtype(self) -> Any:
        return self.images.dtype


class Bound(NamedTuple):
    """A model with all of its inputs except the images."""

    model: Any
    inputs: Inputs


def misfit(error: Exception, shape: tuple, rank: int) -> InputError | None:
    """The error that says why a channels-first module could not take images of a shape; None if it failed for another
    reason. `rank` is the number of spatial axes of its layers."""
    came = f"Images of shape (N, {', '.join(map(str, shape[1:]))}) came"
    if isinstance(error, ExplainError):
        return None
    if "Guard failed" in str(error):
        return InputError(
            f"{came}, and this exported program takes only the sizes that it was exported with ({error}): export it "
            "with dynamic_shapes= for the batch."
        )
    if "actual input size" in str(error) or "is invalid for input of size" in str(error):
        return InputError(f"{came}, and this module cannot run on images of this size: {error}.")
    if len(shape) - 2 > rank > 0 and "batched" in str(error):
        return InputError(f"{came}, and this module takes (N, C, *space) with {rank} axes of space: {error}.")
    if len(shape) - 2 < rank:
        return InputError(
            f"{came}, where the first axis is the batch, and this module takes (N, C, *space) with {rank} axes of "
            f"space: {ONE_IMAGE}."
        )
    if channels_seem("last", shape):
        first = ", ".join(map(str, (0, len(shape) - 1, *range(1, len(shape) - 1))))
        return InputError(
            f"{came}, and this module could not take them. "
            f"PyTorch's convolutions take channels first, (N, C, *space): try x.permute({first}) for a torch.Tensor, "
            f"x.transpose({first}) for a NumPy array."
        )
    if "channel" in str(error) or "running_mean" in str(error):
        return InputError(f"{came}, and this module takes another number of channels: {error}.")
    return None


def channels_seem(place: str, shape: tuple) -> bool:
    """Whether the size of the axes suggests that the channels are "first" or "last", and not at the other end."""
    here, other = (shape[1], shape[-1]) if place == "first" else (shape[-1], shape[1])
    return here in IMAGE_CHANNELS and other not in IMAGE_CHANNELS


def check_alone(x: Any) -> None:
    """Raise if a model that exposes signals is called with more than images."""
    if isinstance(x, (tuple, list, Mapping)):
        raise InputError(
            f"A {type(x).__name__} of inputs came, and a model that exposes signals is called with images alone: let "
            "`ke.explain` call it, with all of them as x, and leaf=."
        )


def bound(model: Any, inputs: Inputs) -> Any:
    """A model with these inputs attached; the model itself if there are none."""
    return model if inputs == Inputs() else Bound(model, inputs)


def unbind(model: Any) -> tuple[Any, Inputs]:
    """A model, and its inputs other than the images."""
    return (model.model, model.inputs) if isinstance(model, Bound) else (model, Inputs())


def sampled(adapter: Any) -> Any:
    """A copy of an adapter with one row of each other input. The rows are NumPy arrays even if the inputs are part of a
    program."""
    if adapter.inputs.alone:
        return adapter
    found = copy.copy(adapter)
    found.inputs = adapter.inputs.each(_sample)
    return found


def _declared(model: keras.Model) -> list:
    """The inputs that a functional model, or a built Sequential model, has declared."""
    inputs = getattr(model, "inputs", None) or []
    return inputs if all(isinstance(i, keras.KerasTensor) for i in inputs) else []


def _named(model: keras.Model, path: tuple) -> Any:
    """The input that a model has declared at a path, or under its last name; None if there is none."""
    inputs = _declared(model)
    found = {(i.name,): i for i in inputs} | (dict(leaves(model.input)) if len(inputs) > 1 else {})
    return found.get(path, found.get(path[-1:]))


def as_declared(model: keras.Model, path: tuple, value: Any) -> Any:
    """A tensor as the Keras model itself would make it: of the declared type and rank."""
    declared, value = _named(model, path), tensor(value)
    if declared is None:
        return value
    value = ops.cast(value, declared.dtype)
    return value[..., None] if len(declared.shape) == len(value.shape) + 1 and declared.shape[-1] == 1 else value


def tensor(value: Any) -> Any:
    """A tensor of the backend. Floating-point numbers become float32."""
    dtype = keras.backend.standardize_dtype(value.dtype)
    return ops.convert_to_tensor(value, "float32" if "float" in dtype else None)


def _sample(value: Any) -> Any:
    if not backend.is_traced(value):
        return value[:1]
    return np.zeros((1, *value.shape[1:]), keras.backend.standardize_dtype(value.dtype))


def _rows(value: Any, x: Any) -> Any:
    """A row for each image: the value's own rows, or its rows repeated if images are copies of the batch."""
    if value.shape[0] == x.shape[0]:
        return ops.convert_to_tensor(value)
    return ops.take(value, ops.arange(ops.shape(x)[0]) % ops.shape(value)[0], axis=0)


def _parameters(function: Callable, own: tuple) -> Mapping[str, inspect.Parameter]:
    return {n: p for n, p in inspect.signature(function).parameters.items() if n not in own}


def _takes(function: Callable, args: tuple, kwargs: dict, own: tuple) -> bool:
    """Whether a function can be called like this; true if it has no signature."""
    try:
        parameters = _parameters(function, own).values()
    except (TypeError, ValueError):
        return True
    try:
        inspect.Signature(list(parameters)).bind(*args, **kwargs)
    except TypeError:
        return False
    return True
