"""Functions from images to scores, as models: they can be called, but nothing inside them can be observed."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import numpy as np
from keras import ops, tree

from keras_explainable import backend
from keras_explainable.errors import InputError, LayerError
from keras_explainable.models.contract import Tap
from keras_explainable.models.inputs import Inputs, channels_seem, tensor
from keras_explainable.models.recording import each
from keras_explainable.models.trace import INPUT, Point, Trace


class BlackBox:
    """Any function from a batch of images to (batch, units) scores, as a model for black-box methods.

    A plain function `f` counts as `BlackBox(f)`. It is never compiled, so it may call anything: a scikit-learn
    pipeline, an ONNX session, another framework, a server.

    Args:
        function: takes float32 images; returns an array or tensor of scores or, with `score=`, any outputs.
        channels_first: whether its images are (batch, channels, *space).
        tensors: whether it takes tensors of the framework that Keras runs on, instead of NumPy arrays.
    """

    run_eagerly = True

    def __init__(self, function: Callable, *, channels_first: bool = False, tensors: bool = False) -> None:
        if not callable(function):
            raise InputError(f"A {type(function).__name__} came, and a function from images to scores was expected.")
        self.function, self.channels_first, self.tensors = function, channels_first, tensors

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return self.function(*inputs, **named)


class Hidden(Trace):
    """The trace of a function, which cannot be traced: every use of it raises."""

    def __init__(self) -> None:
        self.__dict__["outputs"] = (0,)  # it returns something

    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name) if name in ("outputs", "names") or name.startswith("__") else refuse()


def refuse() -> NoReturn:
    """Raise and say that a function has no gradients and no layers."""
    raise LayerError(
        "This model is a function that can only be called: it shows no gradients and no layers. Use a method that "
        "needs nothing but a black box, such as `occlusion`, `rise` or `kernel_shap`."
    )


class BlackBoxAdapter:
    """The adapter of any callable that is neither a Keras model nor a PyTorch module."""

    separator = "/"
    pooling = ()
    signals: tuple | None = None
    target: Any = None
    inputs = Inputs()
    black_box = True

    def __init__(self, model: Any) -> None:
        self.plain = not isinstance(model, BlackBox)
        self.model = BlackBox(model) if self.plain else model
        self.channels_first = self.model.channels_first
        self.came: tuple = ()  # the shape of the images of the last run

    def run(
        self,
        x: Any,
        tap: Tap,
        points: frozenset[Point] | None,
        operations: bool = False,
        strict: bool = False,
        rules: bool = False,
    ) -> Any:
        if points is None or INPUT in points:
            x = tap(INPUT, x)
        self.came = tuple(x.shape)
        args, kwargs = self.inputs.arguments(self.model.function, self.inputs.around(x))
        if self.model.tensors:
            outputs = self.model(*args, **kwargs)
        elif backend.is_traced(x):
            raise InputError(
                "A function of NumPy arrays cannot be part of a compiled program. Use a method that needs nothing but "
                "a black box, such as `occlusion`, `rise` or `kernel_shap`, outside of tf.function and jax.jit; or "
                "make it a function of tensors: ke.BlackBox(function, tensors=True)."
            )
        else:
            try:
                outputs = self.model(*each(args, backend.to_host), **each(kwargs, backend.to_host))
            except Exception as error:
                error.add_note("The function got NumPy arrays; ke.BlackBox(function, tensors=True) gets tensors.")
                raise
        return tree.map_structure(_tensor, outputs)

    def scores(self, outputs: Any) -> Any:
        if not ops.is_tensor(outputs):
            raise InputError(
                f"The function returned a {type(outputs).__name__}, and an array of (batch, units) scores was "
                "expected: pass score=, a function from what it returns to such scores."
            )
        shape, number = tuple(outputs.shape), self.came[0]
        if not shape or (shape[0] != number and None not in (shape[0], number)):
            raise InputError(
                f"The function returned scores of shape {shape} for images of shape {self.came}, and a row for each "
                f"image, ({number}, units), was expected: it must score all images of a batch."
            )
        if not self.model.tensors:  # these scores were on the host anyway
            _check_finite(backend.to_host(outputs))
        return outputs

    def trace(self, shape: tuple, operations: bool = False) -> Trace:
        return Hidden()

    def attentions(self, shape: tuple) -> NoReturn:
        refuse()

    def images(self, x: Any) -> Any:
        return ops.cast(ops.convert_to_tensor(x), "float32")

    def admit(self, path: tuple, value: Any) -> Any:
        return tensor(value)

    def check_integers(self, images: Any) -> None:
        pass

    def own_type(self, images: Any) -> str | None:
        return None

    def device(self) -> AbstractContextManager:
        return nullcontext()

    def build(self, x: Any) -> None:
        if self.plain and len(x.shape) == 4 and channels_seem("first", x.shape):
            raise InputError(
                f"Images of shape {tuple(x.shape)} came, whose channels seem to be first, and a function is assumed to "
                "take them last: give ke.BlackBox(function, channels_first=True)."
            )

    def variables(self) -> list:
        return []

    def weights(self) -> list:
        return []

    def parameters(self) -> NoReturn:
        refuse()

    def replacing(self, model: Any) -> NoReturn:
        refuse()

    def forget(self) -> None:
        pass

    def structure(self) -> tuple:
        return ()

    def input_shape(self) -> tuple | None:
        return None

    @property
    def layers(self) -> NoReturn:
        refuse()

    def layer(self, path: str) -> NoReturn:
        refuse()

    def children(self) -> NoReturn:
        refuse()

    def paths(self) -> NoReturn:
        refuse()

    def expose(self, target: Any, signals: tuple | None) -> NoReturn:
        refuse()


def _check_finite(scores: np.ndarray) -> None:
    """Raise if scores are NaN or infinite: no map can be made of them."""
    finite = np.isfinite(scores).reshape(len(scores), -1).all(axis=1)
    if not finite.all():
        raise InputError(
            f"The function returned NaN or infinite scores for {np.sum(~finite)} of {len(finite)} images, and finite "
            "ones were expected. It is also called with changed images, which may be constant in parts or as a whole: "
            "find out where it divides by 0 or takes the logarithm of 0, or replace such scores (np.nan_to_num)."
        )


def _tensor(value: Any) -> Any:
    """What a function returned, as the backend's tensor if it is an array or a tensor of any framework."""
    if ops.is_tensor(value):
        return value
    value = value.detach().cpu() if hasattr(value, "detach") else value
    if not hasattr(value, "__array__"):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        return value
    return ops.convert_to_tensor(array.astype("float32") if array.dtype.kind == "f" else array)
