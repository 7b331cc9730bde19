"""Batches from every kind of source, equal to the plain slices of the arrays they were made of; and refusals."""

import itertools
import threading
import time

import keras
import numpy as np
import pytest

from keras_explainable import data
from keras_explainable.backend import to_host
from keras_explainable.data.prefetch import AHEAD
from keras_explainable.errors import InputError
from support.selection import BACKEND, ON_TORCH_CPU

RNG = np.random.default_rng(0)
X = RNG.random((7, 4, 5, 3)).astype("float32")
Y = RNG.integers(0, 10, (7, 2))
SLICES = [slice(0, 3), slice(3, 6), slice(6, 7)]


class Pairs(keras.utils.PyDataset):
    """X and Y in batches of three."""

    def __len__(self):
        return len(SLICES)

    def __getitem__(self, index):
        return X[SLICES[index]], Y[SLICES[index]]


class Endless(Pairs):
    """The same, with no end."""

    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        return super().__getitem__(index % len(SLICES))


def generator(*arrays):
    for cut in SLICES:
        parts = tuple(a[cut] for a in arrays)
        yield parts if len(parts) > 1 else parts[0]


def dataset(*arrays):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(3)


def loader(*arrays):
    torch = pytest.importorskip("torch")
    tensors = torch.utils.data.TensorDataset(*map(torch.from_numpy, arrays))
    return torch.utils.data.DataLoader(tensors, batch_size=3)


LABELLED = {
    "array": lambda: (X, Y),
    "tensor": lambda: (keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y)),
    "list": lambda: (list(X), Y.tolist()),
    "dataset": lambda: (dataset(X, Y), None),
    "dataset, y apart": lambda: (dataset(X), Y),
    "loader": lambda: (loader(X, Y), None),
    "loader, y apart": lambda: (loader(X), Y),
    "pydataset": lambda: (Pairs(), None),
    "generator": lambda: (generator(X, Y), None),
    "generator, weights": lambda: (generator(X, Y, np.ones(7)), None),
    "generator, y apart": lambda: (generator(X), Y),
}


def assert_batches(found, units=Y):
    found = list(found)
    assert len(found) == len(SLICES)
    for (images, rows), cut in zip(found, SLICES, strict=True):
        np.testing.assert_array_equal(to_host(images), X[cut])
        np.testing.assert_array_equal(rows, units[cut])
        assert rows.dtype == np.int32


@pytest.mark.parametrize("source", LABELLED)
def test_every_source_gives_the_same_batches(source):
    x, y = LABELLED[source]()
    iterator, number, kind = data.batches(x, y, batch_size=3)
    assert number == (None if kind == "generator" else 3)
    assert_batches(iterator)


@pytest.mark.parametrize("framework", ["tensorflow", "jax.numpy", "torch"])
def test_tensors_of_every_framework_are_taken_on_every_backend(framework):
    module = pytest.importorskip(framework)
    make = getattr(module, "asarray", None) or module.convert_to_tensor
    x, y = make(X), make(Y)
    assert_batches(data.batches(x, y, batch_size=3).iterator)
    assert data.check_images(x) is None


def test_a_torch_tensor_that_records_gradients_is_taken():
    torch = pytest.importorskip("torch")
    assert_batches(data.batches(torch.tensor(X, requires_grad=True), Y, batch_size=3).iterator)


def test_one_unit_for_all_and_one_unit_for_each_become_columns():
    assert_batches(data.batches(X, 4, 3).iterator, np.full((7, 1), 4))
    assert_batches(data.batches(generator(X), 4).iterator, np.full((7, 1), 4))
    assert_batches(data.batches(X, Y[:, 0], 3).iterator, Y[:, :1])
    assert_batches(data.batches(generator(X, Y[:, 0])).iterator, Y[:, :1])


def test_no_units_stay_none():
    assert [rows for _, rows in data.batches(X, batch_size=3).iterator] == [None] * 3
    assert [rows for _, rows in data.batches(generator(X)).iterator] == [None] * 3


@pytest.mark.parametrize("source", LABELLED)
def test_steps_limit_the_batches(source):
    x, y = LABELLED[source]()
    iterator, number, _ = data.batches(x, y, batch_size=3, steps=2)
    found = list(iterator)
    assert number == len(found) == 2
    np.testing.assert_array_equal(to_host(found[1][0]), X[3:6])
    np.testing.assert_array_equal(found[1][1], Y[3:6])


def test_no_more_is_taken_from_a_generator_than_steps_ask_for():
    source = itertools.count()
    images = (np.full((2, 4, 4, 3), i, "float32") for i in source)
    for expected in ([0, 1, 2], [3, 4, 5]):
        assert [x[0, 0, 0, 0] for x, _ in data.batches(images, steps=3).iterator] == expected


def test_sources_known_to_be_endless_need_steps():
    assert_batches(data.batches(Endless(), steps=3).iterator)
    with pytest.raises(InputError, match="steps=10"):
        data.batches(Endless())
    with pytest.raises(InputError, match="steps=10"):
        data.batches(dataset(X).repeat())


def test_lengths_that_are_not_known_are_none():
    assert data.batches(dataset(X, Y).filter(lambda x, y: True)).number is None
    assert data.batches(generator(X)).number is None


REFUSED = {
    "wrong length": (X, Y[:5], "7 images and units for 5"),
    "wrong length for a list": (list(X), [1, 2], "7 images and units for 2"),
    "fractions": (X, Y + 0.5, "float64"),
    "one-hot floats of two": (X, np.eye(2)[Y[:, 0] % 2], "argmax"),
    "several classes, as floats": (X, np.tri(7), "argmax"),
    "several classes, as integers": (X, np.tri(7, dtype=int), "argmax"),
    "booleans": (X, np.ones((7, 3), bool), "bool"),
    "ragged units": (X, [[1], [1, 2], [], [], [], [], []], "ragged"),
    "too many axes": (X, np.zeros((7, 2, 2), int), r"\(7, 2, 2\)"),
    "a unit beyond 32 bits": (X, 2**33, "8589934592"),
    "no images": (X[:0], None, r"\(0, 4, 5, 3\)"),
    "an empty list": ([], None, "empty list"),
    "images of two sizes": ([X[0], X[0, 1:]], None, r"\(3, 5, 3\), \(4, 5, 3\)"),
    "a file name": ("cat.png", None, "str"),
    "a dictionary": ({"image": X}, None, "dict"),
    "nothing": (None, None, "NoneType"),
    "a number": (3.0, None, "float"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_at_the_door(case):
    x, y, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        data.batches(x, y)


def test_batches_are_as_large_as_is_fastest():
    """On PyTorch's CPU eight images of 224 x 224; the images' own device counts where they are tensors."""
    large, small = np.zeros((40, 224, 224, 3), "float32"), np.zeros((40, 32, 32, 3), "float32")
    expected = 8 if ON_TORCH_CPU else 32
    assert data.batches(large).number == -(-40 // expected)
    assert [len(x) for x, _ in data.batches(small).iterator] == [32, 8]
    assert next(data.batches(list(large)).iterator)[0].shape[0] == expected
    if BACKEND == "torch":
        import torch

        assert data.batches(torch.zeros(40, 3, 224, 224, device="meta")).number == 2


@pytest.mark.parametrize("name", ["batch_size", "steps"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "all"])
def test_sizes_that_are_no_counts_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name}={value!r}"):
        data.batches(X, **{name: value})


def test_a_torch_dataset_of_single_images_is_refused_with_the_way_out():
    with pytest.raises(InputError, match="DataLoader"):
        data.batches(loader(X).dataset)


def test_labels_given_twice_are_refused():
    with pytest.raises(InputError, match="drop y"):
        data.batches(dataset(X, Y), 3)
    for source in (generator(X, Y), loader(X, Y), Pairs()):
        with pytest.raises(InputError, match="drop y"):
            next(data.batches(source, 3).iterator)


STREAMS_REFUSED = {
    "nothing in it": (lambda: iter(()), None, "no batch"),
    "too few units": (
        lambda: generator(X),
        Y[:5],
        "units for 5 images, and x gave 6 so far, the last batch having shape .* add the batch axis",
    ),
    "too many units": (lambda: generator(X), np.r_[Y, Y], "units for 14 images, and x gave 7"),
    "units of another batch": (lambda: iter([(X, Y[:2])]), None, "7 images and units for 2"),
    "four parts": (lambda: iter([(X, Y, Y, Y)]), None, "4 parts"),
    "a dictionary": (lambda: iter([{"image": X}]), None, "dict"),
    "two inputs": (lambda: iter([((X, X), Y)]), None, "tuple"),
    "labels of several classes": (lambda: generator(X, np.tri(7)[::-1]), None, "argmax"),
    "an empty batch": (lambda: iter([X[:0]]), None, r"\(0, 4, 5, 3\)"),
}


@pytest.mark.parametrize("case", STREAMS_REFUSED)
def test_what_does_not_fit_in_a_stream_is_refused_with_its_batch(case):
    source, y, message = STREAMS_REFUSED[case]
    with pytest.raises(InputError, match=message):
        list(data.batches(source(), y).iterator)


def preparing():
    return [t for t in threading.enumerate() if t.name == "keras-explainable-batches"]


def test_the_thread_stays_a_few_batches_ahead_and_ends_when_the_user_stops():
    made = []

    def source():
        for i in itertools.count():
            made.append(i)
            yield X

    iterator = data.batches(source()).iterator
    assert not made and not preparing()  # nothing happens before the first batch is asked for
    next(iterator)
    deadline = time.monotonic() + 5
    while len(made) < 1 + AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == list(range(1 + AHEAD))
    iterator.close()
    assert not preparing()


def test_batches_are_prepared_while_the_user_works():
    turns = []

    def source():
        for i in range(3):
            turns.append(f"made {i}")
            yield X

    started = threading.Event()
    for i, _ in enumerate(data.batches(source()).iterator):
        deadline = time.monotonic() + 5
        while i == 0 and len(turns) < 3 and time.monotonic() < deadline:
            started.wait(0.01)
        turns.append(f"used {i}")
    assert turns == ["made 0", "made 1", "made 2", "used 0", "used 1", "used 2"]
    assert not preparing()


def test_an_error_of_the_source_reaches_the_user_after_the_good_batches():
    def source():
        yield X
        raise OSError("the disk is gone")

    iterator = data.batches(source()).iterator
    np.testing.assert_array_equal(next(iterator)[0], X)
    with pytest.raises(OSError, match="the disk is gone"):
        next(iterator)
    assert not preparing()


def test_two_users_do_not_share_batches():
    first, second = data.batches(Pairs()).iterator, data.batches(Pairs()).iterator
    for (a, _), (b, _) in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def spoiled(value, at=(2, 5)):
    x = np.tile(X, (20, 1, 1, 1))
    for i in at:
        x[i, 1, 1, 0] = value
    return x


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("convert", [np.asarray, keras.ops.convert_to_tensor])
def test_values_that_are_not_finite_are_named(value, convert):
    with pytest.raises(InputError, match="Image 2 .* 3 of these 140 images"):
        data.check_images(convert(spoiled(value, (2, 5, 130))))
    with pytest.raises(InputError, match="Image 102 .* 1 of these 140 images"):
        data.check_images(convert(spoiled(value, (70,))), first=32)


def test_large_finite_values_are_no_infinity():
    data.check_images(np.full((2, 4, 4, 3), np.finfo("float32").max, "float32"))
    data.check_images(np.full((2, 4, 4, 3), 60000, "float16"))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", "float32", "float64"])
def test_numbers_of_every_type_are_images(dtype):
    data.check_images(np.ones((2, 4, 4, 3), dtype))


NO_IMAGES = {
    "one image": (X[0, 0, 0], r"shape \(3,\)"),
    "empty batch": (X[:0], "nothing in them"),
    "no channels": (X[..., :0], "nothing in them"),
    "objects": (X.astype(object), "object"),
    "strings": (np.full((1, 2, 2, 1), "a"), "str"),
    "complex numbers": (X.astype("complex64"), "complex64"),
    "no array": (3, r"shape \(\)"),
}


@pytest.mark.parametrize("case", NO_IMAGES)
def test_what_is_no_batch_of_images_is_refused(case):
    x, message = NO_IMAGES[case]
    with pytest.raises(InputError, match=message):
        data.check_images(x)
