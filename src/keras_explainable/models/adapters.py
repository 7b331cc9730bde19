"""Find the adapter for a model by its type, and prepare models and images for methods."""

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from keras_explainable.errors import BackendError, InputError
from keras_explainable.models import processes, spatial, weights
from keras_explainable.models.black_box import BlackBoxAdapter
from keras_explainable.models.contract import Adapter
from keras_explainable.models.image_layout import image_layout
from keras_explainable.models.image_layout import scale as measured_scale
from keras_explainable.models.inputs import Bound, Several, bound, unbind
from keras_explainable.models.score import chooses
from keras_explainable.models.units import unit_indices
from keras_explainable.models.view import View

_known: ContextVar[dict[int, tuple[Any, Adapter]] | None] = ContextVar("known", default=None)


@contextmanager
def unchanging() -> Iterator[None]:
    """A scope in which models keep their layers, so that each adapter is created, and looks up the layers, only
    once."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def adapter(model: Any) -> Adapter:
    """The adapter for a model, by its type."""
    processes.check()
    if isinstance(model, Bound):
        plain = adapter(model.model)
        if not plain.black_box:
            plain.paths()  # found here once, not again in every copy
        found = copy.copy(plain)
        found.inputs = model.inputs
        return found
    known = _known.get()
    if known is None:
        return _adapter(model)
    if id(model) not in known:
        known[id(model)] = model, _adapter(model)
    return known[id(model)][1]


@contextmanager
def steady(model: Any) -> Iterator[None]:
    """A scope whose results belong to one state of the model's weights (see `weights.steady`)."""
    with weights.steady(adapter(model), unbind(model)[0]):
        yield


@contextmanager
def reporting_changes(model: Any) -> Iterator[None]:
    """A scope in which an error is reported as caused by changed weights, if some changed (see `weights`)."""
    with weights.reporting_changes(adapter(model), unbind(model)[0]):
        yield


def _adapter(model: Any) -> Adapter:
    import keras

    if isinstance(model, keras.Model):
        from keras_explainable.models.keras.adapter import KerasAdapter

        return KerasAdapter(model)
    if _is_module(model) and not isinstance(model, keras.Layer):
        if keras.backend.backend() != "torch":
            raise BackendError(
                f"A torch.nn.Module came, and Keras runs on {keras.backend.backend()}, which cannot differentiate it. "
                "Start a new process and set KERAS_BACKEND=torch before Keras is imported, for example by "
                "os.environ['KERAS_BACKEND'] = 'torch' in the first line."
            )
        from keras_explainable.models.torch.adapter import TorchAdapter

        return TorchAdapter(model)
    if callable(model) and not isinstance(model, (type, keras.Layer)):
        return BlackBoxAdapter(model)
    raise InputError(
        f"A {type(model).__module__}.{type(model).__name__} came, and a keras.Model, torch.nn.Module or function from "
        "images to scores was expected."
    )


def bind(model: Any, x: Any) -> tuple[Any, Any]:
    """The model and images that methods see, from a model and the user's inputs. Other inputs are attached to the
    model."""
    return framed(*with_others(model, x))


def with_others(model: Any, x: Any) -> tuple[Any, Any]:
    """The model with all inputs except the images attached, and the unmodified images."""
    if not isinstance(x, Several):
        return model, x
    model, own = unbind(model)
    admitted = map(adapter(model).admit, x.inputs.paths[1:], x.inputs.others)
    return bound(model, replace(x.inputs.fed(admitted), channels=own.channels, stretched=own.stretched)), x.images


def framed(model: Any, images: Any) -> tuple[Any, Any]:
    """The model and images that methods see. They differ from the given ones if the model takes images in another form
    (see `models.image_layout`)."""
    import keras

    plain, inputs = unbind(model)
    adapter(model).check_integers(images)
    channels, inputs = inputs.channels, replace(inputs, channels=None, dtype=adapter(model).own_type(images))
    found = image_layout(adapter(bound(plain, inputs)), tuple(images.shape), channels)
    inputs = replace(inputs, layout=None if found.plain and channels is None else found)
    if found.plain:
        return bound(plain, inputs), images
    return bound(plain, inputs), found.canonical(keras.ops.convert_to_tensor(images, "float32"))


def scale(model: Any, x: Any) -> tuple[float, float] | None:
    """The factor and shift by which a model scales its images (see `models.image_layout.scale`)."""
    model, images = with_others(model, x[:1])
    plain, inputs = unbind(model)
    inputs = replace(inputs, channels=None, dtype=adapter(model).own_type(images))
    return measured_scale(adapter(bound(plain, inputs)), tuple(images.shape))


def with_channels(model: Any, channels: Any, stretched: bool = False) -> Any:
    """The model with the user's `channels` argument attached. If `stretched`, maps of signals cover everything that the
    model sees of the image."""
    if channels is None and not stretched:
        return model
    plain, inputs = unbind(model)
    return bound(plain, replace(inputs, channels=channels, stretched=stretched))


def bias(layer: Any) -> Any:
    """The current bias of each output channel of a Keras layer or PyTorch module, or None if it has no bias."""
    import keras

    if _is_module(layer) and not isinstance(layer, keras.Layer):
        from keras_explainable.models.torch import layer_math as modules
        from keras_explainable.models.torch.hooks import evaluation_weights

        with evaluation_weights(layer):
            return modules.effective_bias(layer) if modules.has_bias(layer) else None
    from keras_explainable.models.keras import layer_math as layers

    return layers.effective_bias(layer) if layers.has_bias(layer) else None


def _is_module(model: Any) -> bool:
    """Whether this is a torch.nn.Module. PyTorch is not imported for this: without it there are no modules."""
    nn = getattr(sys.modules.get("torch"), "nn", None)
    return nn is not None and isinstance(model, nn.Module)


def view(model: Any, inputs: Any, indices: Any = None, score: Any = None) -> View:
    """A model on a batch of images, for chosen units (see `View`)."""
    return View(adapter(model), inputs, indices, score, model)


def size(model: Any, images: Any) -> tuple:
    """The spatial size of a batch of images."""
    import keras

    return spatial.spatial_size(keras.ops.shape(images), adapter(model).channels_first)


def of_images(maps: Any, scores: Any) -> Any:
    """Reshape maps of single frames (N T, ...) to (N, T, ...), for scores (N, K). Other maps are unchanged."""
    import keras

    alone = maps.shape[0] == scores.shape[0]
    return maps if alone else keras.ops.reshape(maps, (scores.shape[0], -1, *maps.shape[1:]))


def units(model: Any, inputs: Any, indices: Any, score: Any = None) -> Any:
    """Unit indices (B, K) as a tensor, checked if their values are known, or chosen by the score. None: every unit."""
    if indices is None:
        return view(model, inputs, None, score).indices if chooses(score) else None
    seen = view(model, inputs)
    return unit_indices(indices, seen.batch, seen.unit_count() if score is None else None)
