"""`ke.scores` for detectors, instances, depth and maps that are smaller than their masks: what each is, in NumPy."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable import scores
from keras_explainable.errors import InputError
from keras_explainable.numerics import resize
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import SHAPE
from support.selection import fast_on_torch, slow_compiled

pytestmark = slow_compiled

host = ops.convert_to_numpy


def given(score, outputs):
    """The score of NumPy outputs."""
    return host(score(keras.tree.map_structure(ops.convert_to_tensor, outputs)))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.maximum(high - low, 0))
    return common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


def corners(boxes):
    """Of (centre, size)."""
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], axis=-1)


@pytest.fixture
def relative(rng):
    """What Hugging Face's detectors give: two images, seven finds, four units and perhaps that there is no object."""
    boxes = rng.uniform(0.3, 0.6, (2, 7, 4)).astype("float32")
    return {"logits": rng.normal(size=(2, 7, 5)).astype("float32") * 2, "pred_boxes": boxes}


@pytest.fixture
def listed(rng):
    """What torchvision's detectors give: of three images seven, five and three finds, the surest first."""
    found = []
    for n in (7, 5, 3):
        low, p = rng.uniform(0, 6, (n, 2)), -np.sort(-rng.uniform(0.1, 1, n))
        boxes = np.concatenate([low, low + rng.uniform(2, 6, (n, 2))], axis=-1)
        found.append({"boxes": boxes.astype("float32"), "labels": rng.integers(1, 4, n), "scores": p.astype("float32")})
    return found


def test_detectors_of_hugging_face_are_known_by_their_keys(relative):
    wanted, boxes = np.float32([[0.4, 0.4, 0.3, 0.3], [0.5, 0.6, 0.4, 0.3]]), corners(relative["pred_boxes"])
    each = np.array([[[iou(w, n) for n in image] for w in corners(wanted)] for image in boxes])  # (B, M, N)
    for activation, p in (("softmax", softmax(relative["logits"])), ("sigmoid", sigmoid(relative["logits"]))):
        objects = p[..., :-1] if activation == "softmax" else p
        same = {"activation": activation}
        expected = (each * p[:, None, :, 2]).max(-1)
        close([given(scores.box(wanted, 2, **same), relative)], [expected], 1e-5)
        close([given(scores.box(wanted, **same), relative)], [(each * objects.max(-1)[:, None]).max(-1)], 1e-5)
        own = np.stack([(each[:, 0] * p[..., 3]).max(-1), (each[:, 1] * p[..., 1]).max(-1)], axis=1)
        close([given(scores.box(wanted, [3, 1], **same), relative)], [own], 1e-5)
        pixels = corners(wanted) * np.float32([640, 480, 640, 480])
        close([given(scores.box(pixels, 2, size=(480, 640), **same), relative)], [expected], 1e-5)
        named = {"boxes": "pred_boxes", "scores": "logits", "layout": "cxcywh"}
        close([given(scores.box(wanted, 2, **named, **same), relative)], [expected], 1e-5)


def test_each_box_has_a_unit_of_its_own_where_they_are_labelled(listed):
    wanted = np.stack([listed[0]["boxes"][2], listed[1]["boxes"][1]]) + np.float32(0.5)
    units = [int(listed[0]["labels"][2]), int(listed[1]["labels"][1])]
    expected = [
        [
            max(
                [iou(w, b) * p for b, u, p in zip(*map(one.get, ("boxes", "labels", "scores")), strict=True) if u == k]
                + [0]
            )
            for w, k in zip(wanted, units, strict=True)
        ]
        for one in listed
    ]
    close([given(scores.box(wanted, units), listed)], [np.float32(expected)], 1e-5)


def test_the_detections_of_each_image_are_explained_for_themselves(listed):
    labels = scores.detection(listed, [1, 0])
    y, found = labels.y, given(labels.score, listed)  # each image for the detections of all
    assert y.tolist() == [[0, 1], [2, 3], [4, 5]] and found.shape == (3, 6)
    picked = np.take_along_axis(found, y, axis=1)
    assert (picked >= np.stack([one["scores"][[1, 0]] for one in listed]) - 1e-6).all()
    alone = given(scores.box(listed[1]["boxes"][0], int(listed[1]["labels"][0])), listed)
    close([found[:, 3:4]], [alone], 1e-6)
    unsorted = [{k: v[::-1].copy() for k, v in one.items()} for one in listed]
    close([given(scores.detection(unsorted, [1, 0]).score, listed)], [found], 1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_surest_of_many_queries(relative, activation):
    p = {"softmax": lambda z: softmax(z)[..., :-1], "sigmoid": sigmoid}[activation](relative["logits"])
    order = np.argsort(-p.max(-1), axis=1)
    boxes, picked = corners(relative["pred_boxes"]), []
    for image in range(2):
        for i in (0, 2):
            n = order[image, i]
            unit = p[image, n].argmax()
            picked.append([max(iou(boxes[image, n], boxes[b, m]) * p[b, m, unit] for m in range(7)) for b in (0, 1)])
    labels = scores.detection(relative, [0, 2], activation=activation)
    close([given(labels.score, relative)], [np.float32(picked).T], 1e-5)
    pixels = corners(relative["pred_boxes"]) * np.float32([40, 30, 40, 30])  # as they are post-processed
    processed = [
        {"boxes": pixels[b][order[b]], "scores": p[b].max(-1)[order[b]], "labels": p[b].argmax(-1)[order[b]]}
        for b in (0, 1)
    ]
    same = scores.detection(processed, [0, 2], activation=activation, size=(30, 40))
    close([given(same.score, relative)], [np.float32(picked).T], 1e-5)


def detector(boxes=4, units=3):
    """A Keras model of images to boxes and scores, and so many images."""
    image = keras.Input(SHAPE)
    h = L.Flatten()(L.Conv2D(4, 3, strides=2, activation="relu")(image))
    where = L.Reshape((boxes, 4))(L.Dense(boxes * 4, activation="sigmoid")(h))
    p = L.Reshape((boxes, units))(L.Dense(boxes * units, activation="sigmoid")(h))
    return keras_models.randomize(keras.Model(image, {"pred_boxes": where, "logits": p})), keras_models.images(
        "functional", 3
    )


def test_a_detection_is_explained_by_its_score_alone_where_the_box_is_its_own():
    """The IoU with itself is at its highest, where it has a kink and no gradient."""
    model, x = detector()
    outputs = {k: host(v) for k, v in model(x).items()}
    best = outputs["logits"].max(-1).argmax(1)
    units = outputs["logits"][np.arange(3), best].argmax(-1)
    near = [[iou(corners(o[n]), corners(m)) for m in o] for o, n in zip(outputs["pred_boxes"], best, strict=True)]
    agreed = np.array(near) * outputs["logits"][np.arange(3), :, units]
    assert (agreed.argmax(1) == best).all()  # no other find of this model agrees better
    own = {"boxes": "pred_boxes", "scores": "logits", "layout": "cxcywh"}
    labels = scores.detection(model(x), **own)
    column = best * outputs["logits"].shape[-1] + units
    flat = lambda outputs: ops.reshape(outputs["logits"], (ops.shape(outputs["logits"])[0], -1))  # noqa: E731
    close(raw("gradients", model, x, labels, batch_size=2), raw("gradients", model, x, column, score=flat), 1e-4)


def test_a_box_beside_a_detection_draws_its_corners():
    model, x = detector()
    outputs = {k: host(v) for k, v in model(x).items()}
    box, unit = outputs["pred_boxes"][0, 1] + np.float32([0.02, -0.03, 0.05, 0.01]), 2
    named = {"boxes": "pred_boxes", "scores": "logits", "layout": "cxcywh"}
    score = scores.box(box, unit, **named)
    base = raw("gradients", model, x[:1], score=score, reduce=None, postprocessing=None)
    step = np.random.default_rng(1).normal(size=x[:1].shape).astype("float32") * 1e-3
    ahead, behind = (raw("gradients", model, x[:1] + s * step, score=score).scores[0, 0] for s in (1, -1))
    assert (ahead - behind) / 2 == pytest.approx(float((base.maps[0, 0] * step[0]).sum()), rel=2e-2)


def enlarged(values, size):
    """(..., H, W) by linear interpolation."""
    for axis, new in ((-2, size[0]), (-1, size[1])):
        matrix = np.asarray(resize.weights(values.shape[axis], new))
        values = np.moveaxis(np.moveaxis(values, axis, -1) @ matrix.T, -1, axis)
    return values


@pytest.mark.parametrize("axis", [1, -1])
def test_a_region_has_more_pixels_than_the_output(rng, axis):
    values, masks = rng.normal(size=(2, 3, 4, 6)).astype("float32"), rng.uniform(size=(5, 13, 21)) < 0.3
    fine = enlarged(values, (13, 21))[:, 1]
    expected = np.stack([fine[:, m].mean(1) for m in masks], axis=1)
    seen = values if axis == 1 else values.transpose(0, 2, 3, 1)
    close([given(scores.region(masks, 1, axis), seen)], [expected], 1e-5)
    close([given(scores.region(masks[0], 1, axis), seen)], [expected[:, :1]], 1e-5)


def test_depth_is_a_mean_over_a_region(rng):
    d = rng.uniform(size=(2, 4, 6)).astype("float32")
    masks = rng.uniform(size=(3, 8, 6)) < 0.4
    expected = np.stack([enlarged(d, (8, 6))[:, m].mean(1) for m in masks], axis=1)
    named = {"predicted_depth": d, "hidden_states": d + 1}
    for outputs in (d, d[:, None], d[..., None], named):
        close(
            [given(scores.depth(masks), outputs), given(scores.depth(), outputs)], [expected, d.mean((1, 2))[:, None]]
        )
    close([given(scores.depth(masks[:, :4]), d)], [np.stack([d[:, m].mean(1) for m in masks[:, :4]], axis=1)])
    close([given(scores.output("far", scores.depth(masks[1])), {"far": d})], [expected[:, 1:2]])
    empty = np.stack([masks[0], np.zeros_like(masks[0])])
    close([given(scores.depth(empty), d)], [np.stack([expected[:, 0], np.zeros(2)], axis=1).astype("float32")])


def soft(mask, s):
    return (mask * s).sum() / (mask + s - mask * s).sum()


def test_an_instance_is_matched_by_its_mask(rng):
    """MaskFormer's and DETR's queries, smaller than the masks, and Mask R-CNN's list."""
    z, c = rng.normal(size=(2, 5, 4, 6)).astype("float32") * 3, rng.normal(size=(2, 5, 4)).astype("float32") * 2
    masks = (rng.uniform(size=(3, 8, 12)) < 0.4).astype("float32")
    s, p = enlarged(sigmoid(z), (8, 12)), softmax(c)
    each = np.array([[[soft(m, n) for n in image] for m in masks] for image in s])
    of_unit, highest = (each * p[:, None, :, 2]).max(-1), (each * p[..., :-1].max(-1)[:, None]).max(-1)
    for names in (("masks_queries_logits", "class_queries_logits"), ("pred_masks", "logits")):
        outputs = dict(zip(names, (z, c), strict=True))
        close(
            [given(scores.instance(masks, 2), outputs), given(scores.instance(masks), outputs)],
            [of_unit, highest],
            1e-5,
        )
        some = np.where(each >= 0.25, each, 0)
        assert 0 < (each >= 0.25).sum() < each.size
        close([given(scores.instance(masks, [2], 0.25), outputs)], [(some * p[:, None, :, 2]).max(-1)], 1e-5)
    labels, p = p[..., :-1].argmax(-1), p[..., :-1].max(-1)
    listed = [{"masks": s[b, : 5 - b, None], "labels": labels[b, : 5 - b], "scores": p[b, : 5 - b]} for b in (0, 1)]
    listed.append({k: v[:0] for k, v in listed[0].items()})
    units = [0, 1, 2]
    expected = np.array([
        [max([each[b, j, n] * p[b, n] for n in range(5 - b) if labels[b, n] == k] + [0]) for j, k in enumerate(units)]
        for b in (0, 1)
    ] + [[0, 0, 0]])  # fmt: skip
    close([given(scores.instance(masks, units), listed)], [expected.astype("float32")], 1e-5)


def test_equal_arguments_make_equal_targets(rng):
    mask, box = rng.uniform(size=(4, 6)) < 0.5, [0.1, 0.2, 0.3, 0.4]
    for make in (
        lambda: scores.depth(mask), lambda: scores.instance(mask, 1, 0.5),
        lambda: scores.box(box, [1], size=(3, 4), activation="softmax"),
    ):  # fmt: skip
        assert make() == make() and hash(make()) == hash(make())
    assert repr(scores.depth()) == "ke.scores.depth(None)"


LOGITS = {"logits": np.zeros((1, 2, 3), "float32"), "pred_boxes": np.ones((1, 2, 4), "float32") / 2}
REFUSED = {
    "no activation": (lambda: given(scores.box([0, 0, 1, 1], 1), LOGITS), "activation='softmax' for DETR.*'sigmoid' for"),
    "pixels": (
        lambda: given(scores.box([50, 50, 20, 20], 1, activation="softmax"), LOGITS),
        "ends at 60, .*relative to the image.*size=",
    ),
    "boxes and units": (lambda: scores.box(np.ones((3, 4)), [1, 2]), "3 boxes and 2 units"),
    "too few": (lambda: scores.detection(LOGITS, 2, activation="softmax"), "image 0 has 2 detections, and number 2"),
    "too few of one": (
        lambda: scores.detection(
            [{"boxes": ops.ones((n, 4)), "scores": ops.ones((n,)), "labels": ops.ones((n,), "int32")} for n in (2, 1)], 1
        ),
        "image 1 has 1 detections, and number 1",
    ),
    "coarse region": (
        lambda: given(scores.region(np.ones((3, 3)), 1, axis=1), np.ones((2, 3, 4, 4))),
        r"\(3, 3\) came for outputs.*with axis= a finer one",
    ),
    "the other axis": (lambda: given(scores.region(np.ones((6, 4)), 1, axis=1), np.ones((2, 6, 4, 3))), "came for outputs"),
    "coarse depth": (lambda: given(scores.depth(np.ones((3, 3))), np.ones((2, 4, 4))), "of its size or of more pixels"),
    "empty depth": (lambda: scores.depth(np.zeros((3, 3))), "depth: the mask has no pixel"),
    "no depth": (lambda: given(scores.depth(), {"logits": np.ones((2, 3, 3))}), "'predicted_depth' was expected"),
    "depth of channels": (lambda: given(scores.depth(), np.ones((2, 3, 4, 4))), r"\(batch, H, W\) was expected"),
    "no masks": (lambda: given(scores.instance(np.ones((3, 3))), LOGITS), "'masks_queries_logits' and 'class_quer"),
    "coarse instance": (
        lambda: given(scores.instance(np.ones((3, 3))), {"pred_masks": np.ones((1, 2, 4, 4)), "logits": np.ones((1, 2, 3))}),
        "one of their size or of more pixels",
    ),
    "masks and units": (lambda: scores.instance(np.ones((2, 3, 3)), [1, 2, 3]), "2 masks and 3 units"),
    "rank": (lambda: scores.instance(np.ones(3)), r"\(H, W\) or \(M, H, W\)"),
    "unit": (lambda: given(scores.box([0, 0, 1, 1], 3, activation="sigmoid"), LOGITS), "Unit 3 .* units 0 to 2"),
}  # fmt: skip


@fast_on_torch
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        make()


def test_two_scores_for_the_same_images_are_refused(listed):
    model, x = detector()
    with pytest.raises(InputError, match=r"detection\(...\) has its own score"):
        ke.gradients(model, x, scores.detection(listed), score=scores.depth(), verbose=0)
