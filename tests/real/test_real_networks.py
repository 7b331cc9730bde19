"""Trained networks on photos: predictions as published, and maps that find the objects they name.

The networks, photos, masks and boxes are not part of the project; without their folder these tests skip."""

import json

import numpy as np
import pytest
from tools.leaderboard.data import masked_photos

import keras_explainable as ke
from keras_explainable import loading
from support.calls import few, subject
from support.compare import close
from support.selection import BACKEND, REPRESENTATIVE, slow

pytestmark = [slow, pytest.mark.real]

SIDE = 224
# The tests' settings compile quickly and run slowly there: minutes for large networks.
slow_on_jax = [pytest.mark.very_slow] if BACKEND == "jax" else []
CIFAR = {"resnet20_cifar10": 180, "resnet8_cifar10": 171, "cnn_flatten_cifar10": 131}  # of 200
IMAGENET = {"squeezenet_v1_1": 31, "mobilenet_v2": 44, "deit_tiny": 41}  # of 50


@pytest.fixture(scope="module")
def networks(real_data):
    import networks

    return networks


@pytest.mark.parametrize("name", CIFAR)
def test_small_photos_are_recognised_as_often_as_published(networks, name):
    images, labels, _ = networks.cifar10()
    scores = networks.load(name).predict(networks.preprocess(name, images), verbose=0)
    assert (scores.argmax(-1) == labels).sum() == CIFAR[name]


@pytest.mark.parametrize(
    "name", ["squeezenet_v1_1", *(pytest.param(name, marks=slow_on_jax) for name in ("mobilenet_v2", "deit_tiny"))]
)
def test_photos_are_recognised_as_often_as_published(networks, name):
    from PIL import Image

    resample = Image.BICUBIC if name == "deit_tiny" else Image.BILINEAR
    images, files = networks.photos("imagenet_sample", resample=resample)
    labels = np.array([networks.labels("imagenet_sample")[file] for file in files])
    # Through the library, which must see what `predict` sees.
    x = networks.preprocess(name, images)
    model = networks.load(name)
    scores = model.predict(x, verbose=0, batch_size=25)
    explained = ke.explain("cam" if name == "mobilenet_v2" else "gradients", model, x[:2], labels[:2], verbose=0)
    close(explained.scores[:, 0], scores[[0, 1], labels[:2]], rtol=1e-3, atol=1e-3)
    print(f"{name}: {(scores.argmax(-1) == labels).sum()} of {len(labels)}")
    assert (scores.argmax(-1) == labels).sum() == IMAGENET[name]


@pytest.mark.parametrize(
    ("name", "file"), [("resnet8_cifar10", "resnet8*.h5"), ("cnn_flatten_cifar10", "cnn_flatten*.keras")]
)
def test_a_file_is_loaded_and_explained_at_once(networks, real_data, name, file):
    images, labels, _ = networks.cifar10()
    loaded = loading.load(
        next((real_data / "weights").glob(file)), scale="raw" if name == "resnet8_cifar10" else "unit"
    )
    x, y = loaded.preprocess(images[:8]), labels[:8]
    p = np.log(loaded.model.predict(x, verbose=0).astype("float64"))
    for method in ke.registry.METHODS.values():
        if BACKEND != "torch" and method.name not in REPRESENTATIVE:
            continue  # each is compiled here
        if name == "cnn_flatten_cifar10" and method.name == "cam":
            continue  # its head reads pixels, not pooled channels
        if subject(method.name) != "functional":
            continue  # no attention
        params = {"max_channels": 4} if method.name == "scorecam" else few(method.name)
        scores, maps = ke.explain(method.name, loaded.model, x, np.stack([y, (y + 1) % 10], 1), verbose=0, **params)
        assert maps.shape == (8, 32, 32, 2)
        assert np.isfinite(maps).all()
        if not params:  # those that repeat may average the scores; logits differ as log probabilities do
            i = np.arange(8)
            close(scores[:, 0] - scores[:, 1], p[i, y] - p[i, (y + 1) % 10], atol=2e-3)


# Where maps point


def boxed_photos(networks, real_data):
    from PIL import Image

    folder = real_data / "imagenet_val"
    for file, about in json.loads((folder / "boxes.json").read_text()).items():
        image = Image.open(folder / file)
        boxes = np.zeros((image.height, image.width), "uint8")
        for left, top, right, bottom in about["boxes_xyxy"]:
            boxes[top:bottom, left:right] = 255
        yield networks.crop(image), networks.crop(Image.fromarray(boxes))[..., 0] > 127, [about["class_index"]]


def judged(maps, masks):
    """The share of maps whose peak lies in the mask, and the mean share of their mass that does."""
    peaks = [mask.ravel()[m.argmax()] for m, mask in zip(maps, masks, strict=True)]
    mass = [(m * mask).sum() / m.sum() for m, mask in zip(maps, masks, strict=True)]
    return np.mean(peaks), np.mean(mass)


METHODS = {"gradcam": {}, "full_gradients": {}, "smoothgrad": {"repetitions": 4}}
OF_TRANSFORMERS = {"attnlrp": {}, "attention_relevance": {}, "gradient_attention_rollout": {}, "attention_rollout": {}}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=slow_on_jax) for name in ("mobilenet_v2", "squeezenet_v1_1", "deit_tiny")]
)
def test_maps_find_the_objects(networks, real_data, name):
    found = [*masked_photos(networks, real_data), *boxed_photos(networks, real_data)]
    images, masks = np.stack([f[0] for f in found]), np.stack([f[1] for f in found])
    model, x = networks.load(name), networks.preprocess(name, images)
    logits = model.predict(x, verbose=0, batch_size=10)
    y = np.array([max(classes, key=lambda c: row[c]) for row, (_, _, classes) in zip(logits, found, strict=True)])
    # Does the map point better than chance, and better than one who always points to the middle?
    area, centre = masks.mean(), masks[:, SIDE // 2, SIDE // 2].mean()
    print(f"\n{name}, {len(x)} photos: random pixel {area:.3f}, centre pixel {centre:.3f}")
    for method, params in (OF_TRANSFORMERS if name == "deit_tiny" else METHODS).items():
        scores, maps = getattr(ke, method)(model, x, y, batch_size=10, verbose=0, **params)
        if method != "smoothgrad":
            close(scores[:, 0], logits[np.arange(len(y)), y], atol=1e-3)
        coco, boxes = (judged(maps[part, ..., 0], masks[part]) for part in (slice(24), slice(24, None)))
        peaks, mass = judged(maps[..., 0], masks)
        print(
            f"  {method:14} peak {peaks:.3f}, mass {mass:.3f}; on masks {coco[0]:.3f}, {coco[1]:.3f}; in boxes {boxes[0]:.3f}, {boxes[1]:.3f}"
        )
        if not ke.registry.METHODS[method].caveat:
            assert peaks > max(area, centre) + 0.1
            assert mass > area + 0.05
