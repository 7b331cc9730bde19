"""The four lines of docs/tasks.md, run on small models of the libraries that they name, give what bare PyTorch does."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import registry

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from support import torch_models  # noqa: E402
from support.compare import close  # noqa: E402

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="modules need Keras on PyTorch"),
]
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text()
BLOCKS = dict(re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 50}
TEXT |= {"max_position_embeddings": 8, "eos_token_id": 49, "bos_token_id": 1}
VISION = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
VISION |= {"image_size": 64, "patch_size": 16}


def run(title, **given):
    """What the names of a block of the page stand for, at its end."""
    block = BLOCKS[title]
    assert len(block.splitlines()) == 4
    names = {"ke": ke, "np": np, **given}
    exec(compile(block, f"docs/tasks.md, {title}", "exec"), names)
    return names


def shown(method, maps):
    """Raw maps (N, H, W) as the shortcut of a method shows them."""
    after = registry.METHODS[method].postprocessing
    maps = maps.numpy()[..., None]
    return maps if after is None else keras.ops.convert_to_numpy(after(maps))


def check(explanation, method, values, maps):
    close(explanation.scores[:, 0], np.asarray(values), rtol=1e-4, atol=1e-6)
    expected = shown(method, maps)
    assert np.ptp(expected, axis=(1, 2)).min() > 0
    close(explanation.maps, expected, atol=2e-3)


def gradients(model, x, score):
    """The scores, and |gradients| averaged over channels, of a function from outputs to (N,) scores."""
    leaf = x.clone().requires_grad_()
    values = score(model(leaf))
    (g,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), g.abs().mean(1)


def check_gradients(explanation, model, x, score):
    check(explanation, "gradients", *gradients(model, x, score))


@pytest.fixture
def tv(torchvision, monkeypatch):
    """torchvision with detectors that run, slowly, without its compiled operators."""

    def nms(boxes, scores, threshold):
        overlap = torchvision.ops.box_iou(boxes, boxes).tolist()
        left, kept = scores.argsort(descending=True).tolist(), []
        while left:
            kept.append(left.pop(0))
            left = [n for n in left if overlap[kept[-1]][n] <= threshold]
        return torch.tensor(kept, dtype=torch.long)

    monkeypatch.setattr(torchvision.ops.boxes, "nms", nms)
    with torch.compiler.set_stance("force_eager"):
        yield torchvision


@pytest.fixture
def hf(torchvision):
    return pytest.importorskip("transformers", reason="transformers is not installed: make test-peers")


def images(size, n=2):
    """Smooth ones."""
    low = torch.from_numpy(torch_models.images(n, (size // 8, size // 8)))
    return F.interpolate(low, size=(size, size), mode="bilinear")


def ious(torchvision, boxes, box):
    return torchvision.ops.box_iou(boxes, torch.as_tensor(box, dtype=torch.float32)[None])[:, 0]


def of_detector(torchvision, boxes, units):
    """The scores (N,) of a detector's outputs for a box and a unit of each image."""

    def score(outputs):
        every = []
        for one, box, unit in zip(outputs, boxes, units, strict=True):
            overlap = ious(torchvision, one["boxes"], box)
            p = one["scores"] * (one["labels"] == unit)
            best = (overlap * p).argmax()
            same = overlap[best] > 0.999
            every.append((overlap[best].detach() if same else overlap[best]) * p[best])
        return torch.stack(every)

    return score


def grad_cam(model, layer, x, score):
    kept = []
    handle = layer.register_forward_hook(lambda m, i, o: kept.append(o))
    values = score(model(x))
    handle.remove()
    (g,) = torch.autograd.grad(values.sum(), kept)
    return values.detach().numpy(), (kept[0] * g.mean((2, 3), keepdim=True)).sum(1).detach().numpy()


def test_detection_by_torchvision(tv):
    torch.manual_seed(2)
    few = {"box_score_thresh": 0.0, "rpn_post_nms_top_n_test": 10, "box_detections_per_img": 6}
    build = tv.models.detection.fasterrcnn_resnet50_fpn
    model = build(weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=64, **few).eval()
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(0.2)
    x = images(64)
    names = run("Detection: torchvision", model=model, x=x)
    found = model(x)
    own = of_detector(tv, [one["boxes"][0].detach() for one in found], [int(one["labels"][0]) for one in found])
    assert own(found).tolist() == [one["scores"][0].item() for one in found]
    check_gradients(names["surest"], model, x, own)
    raw = {"layer": "backbone.body.layer4", "postprocessing": None, "resizing": False, "verbose": 0}
    values, maps = grad_cam(model, model.backbone.body.layer4, x, own)
    found = ke.gradcam(model, x, names["y"], **raw)
    close(found.scores[:, 0], values, rtol=1e-5)
    close(found.maps[..., 0], maps, atol=1e-4 * abs(maps).max())
    score = of_detector(tv, [[5, 5, 60, 60]] * 2, [1, 1])
    with torch.no_grad():
        plain, maps = score(model(x)), torch.zeros(2, 64, 64)
        for i in (0, 32):
            for j in (0, 32):
                covered = x.clone()
                covered[:, :, i : i + 32, j : j + 32] = x.mean((2, 3), keepdim=True)
                maps[:, i : i + 32, j : j + 32] = (plain - score(model(covered)))[:, None, None]
    check(names["mine"], "occlusion", plain, maps)


def tiny(tv, kind):
    """A detector of a kind on a backbone of three convolutions."""
    torch.manual_seed(0)
    layers = [layer for a, b in ((3, 8), (8, 16), (16, 32)) for layer in (nn.Conv2d(a, b, 3, 2, 1), nn.ReLU())]
    body, D = nn.Sequential(*layers), tv.models.detection
    body.out_channels = [32] if kind == "SSD" else 32
    size, pool = {"min_size": 64, "max_size": 64}, tv.ops.MultiScaleRoIAlign
    few = {"score_thresh": 0.0, "topk_candidates": 30, "detections_per_img": 6}
    rpn = {"rpn_pre_nms_top_n_test": 40, "rpn_post_nms_top_n_test": 10, "box_score_thresh": 0.0}
    two_stages = {"rpn_anchor_generator": D.anchor_utils.AnchorGenerator(((16, 32),), ((1.0,),)), **rpn, **size}
    two_stages |= {"box_roi_pool": pool(["0"], 3, 2), "box_detections_per_img": 6}
    one = {"anchor_generator": D.anchor_utils.AnchorGenerator(((16,),), ((1.0,),)), **few, **size}
    model = {
        "Faster R-CNN": lambda: D.FasterRCNN(body, 4, **two_stages),
        "Mask R-CNN": lambda: D.MaskRCNN(body, 4, mask_roi_pool=pool(["0"], 4, 2), **two_stages),
        "RetinaNet": lambda: D.RetinaNet(body, 4, **one),
        "FCOS": lambda: D.FCOS(body, 4, **one),
        "SSD": lambda: D.ssd.SSD(
            body, D.anchor_utils.DefaultBoxGenerator([[1]], scales=[0.3, 0.6]), (64, 64), 4, **few
        ),
    }[kind]()
    return torch_models.drawn(model)


@pytest.mark.parametrize("kind", ["Faster R-CNN", "RetinaNet", "FCOS", "SSD"])
def test_detectors_of_torchvision_give_what_is_asked_for(tv, kind):
    model, x = tiny(tv, kind), images(64)
    found = model(x)
    at = [next(n for n, b in enumerate(one["boxes"]) if (b[2:] - b[:2]).min() > 1) for one in found]
    y = ke.scores.detection(found, range(max(at) + 1))
    y = type(y)(y.y[np.arange(2), at], y.score)
    own = of_detector(
        tv,
        [one["boxes"][n].detach() for one, n in zip(found, at, strict=True)],
        [int(one["labels"][n]) for one, n in zip(found, at, strict=True)],
    )
    check_gradients(ke.gradients(model, x, y, verbose=0), model, x, own)


def test_instances_by_torchvision(tv):
    model, x = tiny(tv, "Mask R-CNN"), images(64)
    model.roi_heads.mask_predictor.mask_fcn_logits.bias.data.fill_(1.0)
    names = run("Instance segmentation: torchvision", model=model, x=x)
    mask = names["mask"].float()

    def score(outputs):
        s, common = outputs[0]["masks"][:, 0], (outputs[0]["masks"][:, 0] * mask).sum((1, 2))
        overlap = common / ((s + mask).sum((1, 2)) - common)
        return (overlap * outputs[0]["scores"] * (outputs[0]["labels"] == names["unit"])).max()[None]

    check_gradients(names["mine"], model, x[:1], score)


SMALL = {"embedding_size": 8, "hidden_sizes": [8, 8, 12, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
DETR = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "num_queries": 5}
DETR |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "use_timm_backbone": False}


def detr(hf):
    return hf.DetrForObjectDetection(
        hf.DetrConfig(
            **DETR, backbone=None, backbone_config=hf.ResNetConfig(**SMALL, out_features=["stage4"]), num_labels=3
        )
    )


def yolos(hf):
    shape = VISION | {"image_size": [96, 96], "num_detection_tokens": 5, "num_labels": 3}
    return hf.YolosForObjectDetection(hf.YolosConfig(**shape, use_mid_position_embeddings=False))


def corners(boxes):
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


@pytest.mark.parametrize("build", [detr, yolos])
def test_detection_by_hugging_face(tv, hf, build):
    model, x = torch_models.drawn(build(hf)), images(96)
    names = run("Detection: Hugging Face", model=model, x=x)
    p = model(x).logits.softmax(-1)[..., :-1].detach()
    query, unit = p.amax(-1).argmax(1), [int(one.amax(0).argmax()) for one in p]
    boxes = corners(model(x).pred_boxes).detach()

    def own(outputs):
        every = []
        for b in (0, 1):
            overlap = ious(tv, corners(outputs.pred_boxes[b]), boxes[b, query[b]])
            overlap = torch.where(overlap > 0.999, overlap.detach(), overlap)
            every.append((overlap * outputs.logits[b].softmax(-1)[:, unit[b]]).max())
        return torch.stack(every)

    check_gradients(names["surest"], model, x, own)

    def mine(outputs):
        overlap = [ious(tv, corners(boxes), torch.tensor([30, 20, 80, 70]) / 96) for boxes in outputs.pred_boxes]
        return (torch.stack(overlap) * outputs.logits.softmax(-1)[..., 1]).amax(1)

    check_gradients(names["mine"], model, x, mine)


def of_pixels(mask, values):
    """The mean over a mask (H, W) of maps (N, h, w), resized to it."""
    mask = torch.as_tensor(mask, dtype=torch.float32)
    values = F.interpolate(values[:, None], size=tuple(mask.shape), mode="bilinear")[:, 0]
    return (values * mask).sum((1, 2)) / mask.sum()


def test_instances_by_hugging_face(hf):
    swin = {"image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}
    swin |= {"window_size": 4, "out_features": ["stage1", "stage2", "stage3", "stage4"]}
    decoder = hf.DetrConfig(**DETR, backbone_config=hf.ResNetConfig(**SMALL, out_features=["stage4"]))
    config = hf.MaskFormerConfig(
        backbone_config=hf.SwinConfig(**swin),
        decoder_config=decoder,
        num_labels=3,
        fpn_feature_size=32,
        mask_feature_size=32,
    )
    model, x = torch_models.drawn(hf.MaskFormerForInstanceSegmentation(config)), images(64)
    with torch.no_grad():
        for p in model.mask_embedder.parameters():
            p.mul_(0.2)
    names = run("Instance segmentation: Hugging Face", model=model, x=x)
    mask = torch.as_tensor(names["mask"], dtype=torch.float32)

    def score(outputs):
        s = F.interpolate(outputs.masks_queries_logits.sigmoid(), size=(64, 64), mode="bilinear")
        overlap = (s * mask).sum((2, 3)) / (s + mask - s * mask).sum((2, 3))
        return (overlap * outputs.class_queries_logits.softmax(-1)[..., 2]).amax(1)

    check_gradients(names["mine"], model, x, score)


def check_segments(names, model, x, logits):
    def preferred(outputs):
        values = logits(outputs)
        mask = values.argmax(1) == 2
        assert mask.sum((1, 2)).min() > 0
        return (values[:, 2] * mask).sum((1, 2)) / mask.sum((1, 2))

    check_gradients(names["whole"], model, x, preferred)
    check_gradients(names["part"], model, x, lambda outputs: of_pixels(names["mask"], logits(outputs)[:, 2]))


def test_segmentation_by_torchvision(tv):
    torch.manual_seed(0)
    build = tv.models.segmentation.lraspp_mobilenet_v3_large
    model, x = torch_models.drawn(build(weights=None, weights_backbone=None, num_classes=4)), images(64)
    names = run("Semantic segmentation: torchvision", model=model, x=x)
    check_segments(names, model, x, lambda outputs: outputs["out"])


SEGFORMER = {"hidden_sizes": [8, 8, 12, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 2]}


def test_segmentation_by_hugging_face(hf):
    model = hf.SegformerForSemanticSegmentation(hf.SegformerConfig(**SEGFORMER, decoder_hidden_size=8, num_labels=4))
    model, x = torch_models.drawn(model), images(64)
    z = model(x).logits.detach()
    assert z.shape == (2, 4, 16, 16)
    model.decode_head.classifier.bias.data[2] += (z.amax(1) - z[:, 2]).median()  # it is the highest in half of them
    names = run("Semantic segmentation: Hugging Face", model=model, x=x)
    check_segments(names, model, x, lambda outputs: outputs.logits)


def dpt(hf):
    shape = VISION | {"num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "fusion_hidden_size": 8}
    return hf.DPTForDepthEstimation(hf.DPTConfig(**shape, neck_hidden_sizes=[8, 8, 8, 8]))


def glpn(hf):
    return hf.GLPNForDepthEstimation(hf.GLPNConfig(**SEGFORMER, decoder_hidden_size=8))


@pytest.mark.parametrize("build", [dpt, glpn])
def test_depth(hf, build):
    model, x = torch_models.drawn(build(hf)), images(64)
    if build is dpt:
        model.head.head[4].bias.data.fill_(1.0)  # its ReLU at the end is on
    names = run("Depth", model=model, x=x)
    check_gradients(names["whole"], model, x, lambda outputs: outputs.predicted_depth.mean((1, 2)))
    check_gradients(names["part"], model, x, lambda outputs: of_pixels(names["mask"], outputs.predicted_depth))


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_images_and_texts(hf, kind):
    config, model = getattr(hf, f"{kind}Config"), getattr(hf, f"{kind}Model")
    projection = {"projection_dim": 8} if kind == "CLIP" else {}
    model = model(config(text_config=TEXT | projection, vision_config=VISION | projection, **projection))
    model, x = torch_models.drawn(model), images(64)
    ids = torch.randint(2, 48, (3, 8), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = 49
    inputs = hf.BatchFeature({"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": x})
    names = run("Images and texts: CLIP, SigLIP", model=model, inputs=inputs)

    def bare(x):
        return model(**{**inputs, "pixel_values": x}).logits_per_image

    assert names["kinds"]["shared"] == ["input_ids", "attention_mask"] and bare(x).shape == (2, 3)
    check_gradients(names["first"], bare, x, lambda logits: logits[:, 0])
    check_gradients(names["why"], bare, x, lambda logits: logits[:, 2] - logits[:, :2].amax(1))


def test_an_embedding(hf):
    model = hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**VISION, projection_dim=8))
    model, x = torch_models.drawn(model), images(64)
    names = run("Images alone: an embedding", model=model, x=x)
    vector = names["vector"].detach()
    score = lambda outputs: F.cosine_similarity(outputs.image_embeds, vector[None], dim=-1)  # noqa: E731
    values, maps = gradients(model, x[1:], score)
    close(names["mine"].scores[:, 0], [1, values.item()], rtol=1e-5)
    close(names["mine"].maps[1:], shown("gradients", maps), atol=2e-3)


def test_every_block_is_tried():
    source = Path(__file__).read_text()
    assert set(BLOCKS) == set(re.findall(r'run\("(.+?)"', source)) - {"(.+?)"}
