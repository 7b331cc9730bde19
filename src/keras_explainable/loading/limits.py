"""Limits on what a Keras file unpacks and allocates. They are checked before either is done."""

import io
import itertools
import math
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_explainable.loading import archives
from keras_explainable.loading.configs import ALLOW, Refused, too_much
from keras_explainable.loading.texts import layer_of

EXPANSION, FLOOR = 20, 64 << 20  # most bytes unpacked, per byte of the file; weights hardly compress
MEMBERS, OBJECTS = 10_000, 200_000
SPARE = 1_000_000  # declared weights beyond those that are stored
SIGNAL = 1 << 28  # values in a layer's output for one image: one gigabyte
TRIED = 1 << 27  # most values on which a layer may be computed to find the shape of its output: half a gigabyte
SECONDS = 60  # to build a model without weights: 1,000 layers take 2 s
PACKING = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # the filters of HDF5 that h5py writes
# Layers that keep a value for each pair of places.
ATTENTION = tuple(
    getattr(keras.layers, name)
    for name in ("Attention", "AdditiveAttention", "MultiHeadAttention", "GroupQueryAttention")
)
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
LEGACY = {"Functional": keras.Model, "Model": keras.Model, "Sequential": keras.Sequential}


def unpacked(path: Path) -> tuple[bytes, io.BytesIO]:
    """The configuration and the weights in an archive. Raise Refused if it unpacks to far more than its size."""
    with archives.open_archive(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if len(names) > MEMBERS or len(set(names)) < len(names):
            raise Refused(f"has members of the same name, or over {MEMBERS:,} members", "Keras writes no such file")
        _check_size(sum(member.file_size for member in members), path.stat().st_size)
        if CONFIG in names and WEIGHTS not in names:
            raise Refused(f"holds no {WEIGHTS}, which `model.save` writes", f"Save the whole model. {ALLOW}")
        return archive.read(CONFIG), io.BytesIO(archive.read(WEIGHTS))


def stored(file: Any, size: int) -> int:
    """The number of values in an HDF5 file of `size` bytes. Raise Refused if it declares far more than fit in it."""
    import h5py

    values, taken, seen, waiting = 0, 0, set(), [file]
    while waiting:
        item = waiting.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > OBJECTS:
            raise too_much(f"more than {OBJECTS:,} groups and arrays of weights")
        if isinstance(item, h5py.Dataset):
            _check_dataset(item)
            values += item.size or 0
            taken += (item.size or 0) * item.dtype.itemsize
            continue
        if not isinstance(item, h5py.Group):
            raise Refused("holds objects other than groups and arrays", "Keras writes no such file")
        for name in item:
            if not isinstance(item.get(name, getlink=True), h5py.HardLink):
                raise Refused("has links to other places among its weights", f"Keras writes no such file. {ALLOW}")
            waiting.append(item[name])
    _check_size(taken, size)
    return values


def check_weights(config: Any, own: dict[str, Any], values: int) -> None:
    """Build a model without values for its weights, and count the weights that it declares.

    Raises:
        Refused: it declares far more weights than the file holds, or a layer's output is larger than in any known
            model.
    """
    failed: list[Exception] = []

    def build() -> None:
        try:
            with keras.saving.custom_object_scope({**LEGACY, **own}):
                # Weights have a shape but no values.
                with keras.StatelessScope(initialize_variables=False), _shapes_within(TRIED):
                    model = keras.saving.deserialize_keras_object(config, safe_mode=True)
                declared = sum(math.prod(weight.shape) for weight in model.variables)
            if declared > SPARE + 2 * values:
                raise Refused(
                    f"declares {declared:,} weights and holds {values:,}; it may be made to exhaust memory",
                    f"Keras writes no such file. {ALLOW}",
                )
            _check_signals(model)
        except Exception as error:
            failed.append(error)

    # In a new thread: Keras keeps variables that wait for values, and the numbers in automatic names, per thread.
    thread = threading.Thread(target=build, name="keras-explainable-check", daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():  # it cannot be stopped, but the process can still exit
        raise too_much(f"layers that take more than {SECONDS} s to connect")
    if own and failed and not isinstance(failed[0], Refused):
        return  # the user's own layers may need the values of weights to be built
    if failed and "in a stateless scope" in str(failed[0]):
        layer = layer_of(failed[0])
        where = f" in {layer!r}, as a stateful layer does" if layer else ""
        raise Refused(f"creates weights that cannot be counted in advance{where}", f"Save it without them. {ALLOW}")
    if failed:
        raise failed[0]


def _shapes_within(most: int) -> AbstractContextManager:
    """A scope in which layers are computed on at most this many values to find shapes. Only PyTorch computes them."""
    if keras.backend.backend() != "torch":
        return nullcontext()
    from keras_explainable.backend.shapes_torch import ShapesWithin

    return ShapesWithin(most, _computed_for_shape)


def _computed_for_shape(values: int) -> Refused:
    return too_much(f"a layer that is computed on {values:,} values only to find the shape of its output")


def _check_signals(model: Any) -> None:
    """Raise Refused if a layer's output for one image is larger than in any known model, or than its declared shape."""
    for step in getattr(model, "operations", getattr(model, "layers", [])):
        outputs = [output for node in step._inbound_nodes for output in keras.tree.flatten(node.output_tensors)]
        for output in outputs:
            if math.prod(side or 1 for side in output.shape[1:]) > SIGNAL:
                raise too_much(f"a signal of shape {output.shape} at {step.name!r}, more than {SIGNAL:,} values")
        inner = step
        while isinstance(inner, keras.layers.Wrapper):
            inner = inner.layer
        if isinstance(inner, ATTENTION):
            _check_attention(step, inner)
        if isinstance(inner, keras.layers.Rescaling):
            for value, output in itertools.product((inner.scale, inner.offset), outputs):
                ones = np.broadcast_to(np.float32(1), np.shape(value))
                if keras.ops.multiply(output, ones).shape != output.shape:
                    wrong = f"multiplies a signal of shape {output.shape} at {step.name!r} by numbers of another shape"
                    raise Refused(wrong, f"Keras writes no such file. {ALLOW}")
        if isinstance(inner, keras.Model):
            _check_signals(inner)


def _check_attention(step: Any, layer: Any) -> None:
    """Raise Refused if a layer compares more pairs of places, for one image, than any known model does."""
    heads = next((getattr(layer, name) for name in ("num_heads", "num_query_heads") if hasattr(layer, name)), 1)
    for node in step._inbound_nodes:
        shapes = [value.shape for value in node.input_tensors]
        query, *others = (math.prod(side or 1 for side in shape[1:-1]) for shape in shapes)
        pairs = heads * query * max(others, default=query)
        if isinstance(layer, keras.layers.AdditiveAttention):  # it keeps a vector for each pair
            pairs *= shapes[0][-1] or 1
        if pairs > SIGNAL:
            raise too_much(f"attention at {step.name!r} with {pairs:,} values, more than {SIGNAL:,}")


def _check_size(unpacked: int, size: int) -> None:
    if unpacked > FLOOR + EXPANSION * size:
        raise Refused(
            f"declares that its {size:,} bytes unpack to {unpacked:,}; it may be made to exhaust memory",
            f"Files that Keras writes are hardly compressed. {ALLOW}",
        )


def _check_dataset(dataset: Any) -> None:
    created = dataset.id.get_create_plist()
    packing = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
    if dataset.is_virtual or dataset.external:
        raise Refused("has weights that are in other files", f"Keras writes no such file. {ALLOW}")
    if dataset.dtype.hasobject or not packing <= set(PACKING):
        raise Refused("has weights of a type or compression that Keras does not write", f"Save it again. {ALLOW}")
