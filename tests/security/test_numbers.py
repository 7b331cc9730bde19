"""Numbers that mean harm: each is refused by one sentence or does its work, soon and in little memory."""

import re
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import ExplainError, InputError
from keras_explainable.methods.perturbation.kernel_shap import coalitions
from keras_explainable.methods.perturbation.lime import lime_rows
from keras_explainable.methods.perturbation.rise import rise_rows
from keras_explainable.numerics import random
from keras_explainable.runtime import memory
from support import keras_models
from support.calls import raw
from support.selection import fast_on_torch, very_slow_compiled

pytestmark = fast_on_torch

SECONDS, MEGABYTES = 10, 500
WHOLE = [10**7, 10**9, 2**63, 10**30, 10**400, np.int64(2**62), -1, 0, True, 1.5]
REAL = [1e308, float("inf"), float("nan"), -1e308, 1e-308, np.float32(3e38)]
NUMBERS = [*WHOLE, *REAL, (10**9, 10**9), (10**30, 1), (-1, 2)]
NOT_NUMBERS = {"score", "reduce", "noise_kind", "quadrature", "aggregation", "fusion", "biases", "layers"}
FEW = {"repetitions": 2, "max_channels": 2}  # where another parameter is tried


def kilobytes(name):
    return int(re.search(name + r":\s+(\d+)", Path("/proc/self/status").read_text())[1])


@contextmanager
def little(what):
    """Soon done, and with little more memory than there was in use."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError:
        pytest.skip("the peak is measured by /proc")
    before, start = kilobytes("VmRSS"), time.perf_counter()
    yield
    took, more = time.perf_counter() - start, (kilobytes("VmHWM") - before) / 1024
    assert took < SECONDS and more < MEGABYTES, f"{what} took {took:.1f} s and {more:.0f} MB"


def error_of(call):
    """What an error of ours says; None where there is none, and no other error is let through."""
    try:
        call()
    except ExplainError as error:
        assert len(str(error)) > 20
        return str(error)
    return None


def subject(name):
    kind = "transformer" if ke.registry.Need.ATTENTION in ke.registry.METHODS[name].needs else "functional"
    return keras_models.build(kind), keras_models.images(kind, 2)


@very_slow_compiled
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ke.registry.METHODS)
def test_every_number_of_a_method(name):
    model, x = subject(name)
    own = [key for key in ke.registry.parameters(ke.get(name)) if key not in NOT_NUMBERS]
    for key in own:
        for value in NUMBERS:
            params = {k: v for k, v in FEW.items() if k in own} | {key: value}
            with little(f"{name} by the {len(own)} numbers, {key}"):
                error_of(lambda params=params: raw(name, model, x, 0, run_eagerly=True, **params))


@very_slow_compiled
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", ["batch_size", "steps", "resizing", "seed", "verbose", "channels", "leaf", "y"])
def test_every_number_of_explain(key):
    model, x = subject("gradcam")
    for value in [*NUMBERS, (0, 0), (1.5, 2), (True, 3), (2**62, 2**62), (1, 10**9)]:
        with little(key):
            error_of(lambda value=value: ke.explain("gradcam", model, x, **{"y": 0, "verbose": 0, key: value}))


METAS = {
    "repetitions of smooth": lambda value: ke.methods.meta.smooth("gradcam", value),
    "noise of smooth": lambda value: ke.methods.meta.smooth("gradcam", 2, value),
    "scales of tta": lambda value: ke.methods.meta.tta("gradcam", (value,)),
    "repetitions of integrate": lambda value: ke.methods.meta.integrate("gradcam", value),
    "weights of ensemble": lambda value: ke.methods.meta.ensemble(["gradcam"], [value]),
    "other units of contrast": lambda value: ke.methods.meta.contrast("gradcam", value),
}


@very_slow_compiled
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("of", METAS)
def test_every_number_of_a_method_of_methods(of):
    model, x = subject("gradcam")
    for value in [*WHOLE, *REAL]:
        with little(of):
            error_of(lambda value=value: raw(METAS[of](value), model, x, 0))


@very_slow_compiled
def test_what_is_no_number_of_them_is_refused_with_the_reason():
    model, x = subject("gradcam")
    for call, reason in {
        lambda: raw("smoothgrad", model, x, 0, repetitions=10**9): "repetitions=1000000000 came, .*at most 1,000,000",
        lambda: raw(
            "smoothgrad", model, x, 0, repetitions=10**5000
        ): "repetitions=a number of 16,610 bits came, and a whole",
        lambda: raw("hsic", model, x, 0, repetitions=10**6): "repetitions=1000000 came, .*at most 100,000",
        lambda: raw("blur_ig", model, x, 0, repetitions=2001): 'use quadrature="midpoint" for more',
        lambda: raw("sobol", model, x, 0, repetitions=10**6): "take 50,000,000 passes of the model for each image",
        lambda: raw(
            "smoothgrad", model, x, 0, noise=10**30
        ): "noise=10.* came, and a number of 0 or more was expected .at most",
        lambda: raw("lime", model, x, 0, ridge=float("inf")): "ridge=inf came, and a number of 0 or more was expected",
        lambda: ke.methods.meta.ensemble(["gradcam"], [float("nan")]): "give one weight of 0 or more for each",
        lambda: ke.methods.meta.contrast("gradcam", 1.5): "1.5 among them, and integers were expected",
        lambda: ke.methods.meta.tta("gradcam", (1e308,)): "scales=",
        lambda: raw("gradcam", model, x, "top-" + "9" * 5000): "unit indices were expected",
        lambda: ke.demo.load_scenes(10**9): r"1000000000 scenes take 12\d.\d TB of memory",
        lambda: ke.demo.load_scenes(True): "whole numbers of 0 or more were expected",
    }.items():
        with pytest.raises(InputError, match=reason), little(reason):
            call()


@very_slow_compiled
def test_more_segments_and_windows_than_anybody_waits_for():
    x = np.zeros((1, 1100, 1100, 3), "float32")

    def model(images):
        return images.mean((1, 2, 3))[:, None]

    for method in ("lime", "kernel_shap", "sobol", "hsic"):
        with pytest.raises(InputError, match=r"segments=10000000 makes 1,210,000 segments .* 2,048"), little(method):
            raw(method, model, x, 0, segments=10**7, repetitions=2)
    labels = np.arange(1100 * 1100).reshape(1, 1100, 1100)
    with pytest.raises(InputError, match="segments='labels' makes 1,210,000 segments"), little("labels"):
        raw("lime", model, x, 0, segments=labels, repetitions=2)
    with pytest.raises(InputError, match=r"take 1,210,000 passes .* give a larger stride="), little("windows"):
        raw("occlusion", model, x, 0, patch=1)


class Enough(BaseException):
    """Raised by the clock; no handler of `Exception` on the way keeps it."""


@very_slow_compiled
@pytest.mark.parametrize(
    "name", [name for name, about in ke.registry.METHODS.items() if ke.registry.takes(about.function, "repetitions")]
)
def test_memory_does_not_grow_with_a_million_repetitions(name):
    if name in ("sobol", "hsic"):
        number = 20_000  # of 50 passes each, and of which each two are compared
    else:
        number = 10**6
    model, x = subject(name)
    taken = ke.registry.parameters(ke.get(name))
    params = {"quadrature": "midpoint"} if "quadrature" in taken else {}
    if name == "xrai":
        params = {"segments": lambda image: np.zeros(image.shape[:-1], int)}
        number = 2000  # nodes of Gauss and Legendre

    def stop(*_):
        raise Enough

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 1.5, 5)  # again, should it come while an object is finalised
    try:
        with pytest.raises(Enough), little(name):
            while True:  # it may have time enough
                raw(name, model, x, 0, repetitions=number, **params)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@very_slow_compiled
def test_what_is_drawn_in_parts_is_what_is_drawn_at_once():
    np.testing.assert_array_equal(
        np.concatenate([random.on_host((2, 3), 5, 1, 2), random.on_host((4, 3), 5, 1, 2, first=6)]),
        random.on_host((6, 3), 5, 1, 2),
    )
    far = random.on_host((8,), 5, first=2**32 - 4)
    np.testing.assert_array_equal(far[4:], random.on_host((4,), 5))  # the positions are of 32 bits
    whole = rise_rows(9, (2, 3), (20, 24), 0.4, 5)
    parts = [rise_rows(n, (2, 3), (20, 24), 0.4, 5, first) for first, n in ((0, 4), (4, 5))]
    for k in range(2):
        np.testing.assert_array_equal(np.concatenate([part[k] for part in parts]), whole[k])
    lime = [lime_rows(n, 6, 5, first) for first, n in ((0, 4), (4, 5))]
    np.testing.assert_array_equal(np.concatenate(lime), lime_rows(9, 6, 5))
    for some in (coalitions(21, 7, 3), coalitions(62, 6, 3)):
        whole = some.drawn(0, some.number)
        parts = [some.drawn(start, min(start + 5, some.number)) for start in range(0, some.number, 5)]
        for k in range(2):
            np.testing.assert_array_equal(np.concatenate([part[k] for part in parts]), whole[k])


def of_many_units():
    L = keras.layers
    layers = [keras.Input((32, 32, 3)), L.Conv2D(4, 3), L.GlobalAveragePooling2D(), L.Dense(1000)]
    return keras.Sequential(layers)


MANY = np.broadcast_to(np.zeros((1, 32, 32, 3), "float32"), (10**5, 32, 32, 3))
LARGE = [
    (MANY, None, (224, 224), r"100,000,000 maps of size \(224, 224\), 1,000 for each of 100,000 images, take 20.1 TB"),
    (MANY, "top-500", (224, 224), r"50,000,000 maps of size \(224, 224\), 500 for each"),
    (MANY[:2], 0, (10**6, 10**6), r"2 maps of size \(1000000, 1000000\), 1 for each of 2 images, take 8.0 TB"),
    (MANY[:1], 0, (1, 10**9), r"Maps of size \(30, 30\), resized to \(1, 1000000000\), take 364.0 GB"),
    ([*MANY[:2]], 0, (10**6, 10**6), "2 maps"),
]


@very_slow_compiled
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("x", "y", "size", "message"), LARGE)
def test_a_result_that_does_not_fit_is_refused_before_the_work(x, y, size, message, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1e11)
    with pytest.raises(InputError, match=message + ".* of memory, and this machine has 100.0 GB left: "), little(size):
        ke.gradcam(of_many_units(), x, y, resizing=size, verbose=0)


@very_slow_compiled
@pytest.mark.filterwarnings("ignore")
def test_a_source_without_a_known_end_stops_where_memory_does_with_what_was_done(monkeypatch):
    model, x = subject("gradcam")
    batches = iter([x] * 5)
    monkeypatch.setattr(memory, "SMALL", 0)
    room = 1.2 * 3 * x.shape[0] * (4 + 4 * np.prod(x.shape[1:-1]))  # for three batches
    monkeypatch.setattr(memory, "available", lambda: room)
    with pytest.raises(
        InputError, match="The maps of 8 images, put together, take .*: take fewer, or explain"
    ) as caught:
        ke.gradcam(model, batches, 0, verbose=0)
    assert len(caught.value.partial.maps) == 8  # what came last as well


@very_slow_compiled
def test_copies_that_do_not_fit_are_refused(monkeypatch):
    model, x = subject("rise")
    monkeypatch.setattr(memory, "available", lambda: 1e8)
    with pytest.raises(InputError, match=r"1,000,000 copies of images of shape .* at once take .* smaller at_once="):
        raw("rise", model, x, 0, repetitions=10**6, at_once=10**12)
    raw("rise", model, x, 0, repetitions=3, at_once=10**12)  # there are no more than three


def test_copies_are_counted_with_what_is_made_of_them(monkeypatch):
    model, x = subject("rise")
    images = 4.0 * 100 * x.size
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: 2 * images)
    with pytest.raises(InputError, match=r"100 copies of images of shape .* and their signals at once take"):
        raw("rise", model, x, 0, repetitions=100, at_once=10**9)


HUGE = 10**5000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_that_python_does_not_write(sign):
    value = sign * HUGE
    model, x = subject("gradcam")
    many = "a number of 16,610 bits"
    for call, reason in {
        lambda: ke.gradcam(model, x, 0, resizing=value): f"resizing={many} came",
        lambda: ke.gradcam(model, x, 0, resizing=(-abs(value), 1)): "resizing=a tuple with a number of thousands",
        lambda: ke.gradcam(model, x, 0, layer=value): f"Layer index {many} is out of range",
        lambda: ke.gradcam(model, x, 0, layer=[value]): f"no layer '{many}'",
        lambda: ke.gradcam(model, x, 0, layer=[None, value]): "2 layers came",
        lambda: ke.gradcam(model, x, 0, channels=value): f"channels={many} came",
        lambda: ke.gradcam(model, x, 0, leaf=value): f"leaf={many} came",
        lambda: ke.gradcam(model, x, 0, precision=value): f"precision={many} came: use one of",
        lambda: ke.gradcam(model, x, 0, postprocessing=value): f"postprocessing={many} came",
        lambda: ke.gradcam(model, x, score=value): f"score={many} came",
        lambda: ke.gradcam(model, x, 0, callbacks=value): "callbacks=a list with a number of thousands",
        lambda: ke.gradcam(model, x, value): f"Unit {many} came",
        lambda: ke.gradcam(model, x, [value, 0]): f"Unit {many} came",
        lambda: ke.gradcam(
            model, x, 10**30
        ): "Unit 10{30} came, and numbers from 0 to the number of units - 1 were expected",
        lambda: ke.gradcam(model, x, score=ke.scores.unit(value)): f"={many} came",
        lambda: ke.gradcam(model, x, score=ke.scores.margin(value, 1)): f"={many} came",
        lambda: ke.gradcam(model, x, score=ke.scores.top_k(value)): f"{many}",
    }.items():
        assert re.search(reason, error_of(call) or "no error"), (reason, error_of(call))


def test_memory_that_is_left_is_what_the_machine_has(tmp_path, monkeypatch):
    free = memory.available()
    assert free is None or 1e7 < free < 1e15
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMIT", limit)
    limit.write_text("max\n")
    assert memory.available() == pytest.approx(free, rel=0.2)
    limit.write_text("2000000\n")
    assert memory.available() == 2e6


@very_slow_compiled
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demo", "--images", 10**9], "images=1000000000 came, and the demo explains 1 to 1,000 scenes"),
        (["layers", "--size", "240x320"], "the model only takes images of 96 by 96: leave it out"),
        (["explain", "PHOTO", "--size", "240"], "the model only takes images of 96 by 96: leave it out"),
        (["explain", "PHOTO", "--size", "9" * 5000], "came, and a number, or HxW"),
        (["explain", "PHOTO", "--unit", "9" * 5000], "came, and a number from 0"),
        (["explain", "PHOTO", "--unit", "top-" + "9" * 5000], "came, and a number from 0"),
        (["explain", "PHOTO", "--unit", 10**8], "asked for, and the model has"),
        (["compare", "PHOTO", "-m", "gradcam", "--repetitions", 10**12], None),
        (["explain", "PHOTO", "--size", 96], None),
    ],
)
def test_numbers_on_the_command_line(words, message, tmp_path):
    typer_testing = pytest.importorskip("typer.testing", reason="the command line needs typer")
    from PIL import Image

    from keras_explainable import cli

    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((96, 96, 3), "uint8")).save(photo)
    words = [str(photo) if word == "PHOTO" else str(word) for word in words]
    with little(words[:2]):
        made = typer_testing.CliRunner().invoke(
            cli.app(), [*words, *(["--out", str(tmp_path)] * (words[0] != "layers"))]
        )
    text = re.sub(r"[\s│]+", " ", made.output)
    assert made.exit_code == 0 if message is None else made.exit_code in (1, 2), made.output
    assert (message or "") in text and "unexpected" not in text
