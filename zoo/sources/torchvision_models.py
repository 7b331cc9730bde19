"""torchvision: classification, segmentation, video and detection models, without its compiled operators."""

import contextlib
import importlib.util
import sys
from pathlib import Path

CLASSIFIERS = dict.fromkeys(
    """alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 mnasnet0_5
    mobilenet_v2 mobilenet_v3_small regnet_y_400mf regnet_x_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5
    squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn""".split(),
    128,
) | {"maxvit_t": 224, "vit_b_32": 224, "inception_v3": 192}
SEGMENTERS = dict.fromkeys(("deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large"), 128)
VIDEOS = {
    "r3d_18": (8, 64, 64),
    "mc3_18": (8, 64, 64),
    "r2plus1d_18": (8, 64, 64),
    "s3d": (16, 224, 224),  # it pools seven cells
    "mvit_v1_b": (16, 224, 224),
    "swin3d_t": (8, 64, 64),
}
DETECTORS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": 128,
    "fcos_resnet50_fpn": 128,
    "keypointrcnn_resnet50_fpn": 128,
    "maskrcnn_resnet50_fpn": 128,
    "retinanet_resnet50_fpn": 128,
    "ssd300_vgg16": 300,
    "ssdlite320_mobilenet_v3_large": 320,
}
NAMES = [*CLASSIFIERS, *SEGMENTERS, *VIDEOS, *DETECTORS]
CLASSES, CHOSEN = 5, 2
KEPT = []  # libraries of operators, which exist only while they are referenced


def load():
    """Import torchvision, with its operators written in PyTorch if there is no build of them."""
    import torch

    if "torchvision" in sys.modules or compiled():
        import torchvision

        return torchvision
    library = torch.library.Library("torchvision", "DEF")
    KEPT.append(library)
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
        "int sampling_ratio, bool aligned) -> Tensor"
    )
    import torchvision

    torchvision.extension._has_ops = lambda: True
    library.impl("nms", suppressed, "CPU")
    library.impl("roi_align", sys.modules["torchvision.ops.roi_align"]._roi_align, "CompositeImplicitAutograd")
    return torchvision


def compiled():
    """Return whether torchvision's own operators can be loaded."""
    import torch

    found = importlib.util.find_spec("torchvision")
    for file in Path(found.origin).parent.glob("_C*.so"):
        with contextlib.suppress(OSError):
            torch.ops.load_library(file)
            return True
    return False


def suppressed(boxes, scores, threshold):
    """Return the boxes, best first, that no better box overlaps by more than a threshold."""
    import numpy as np
    import torch
    from torchvision.ops import box_iou

    order = scores.argsort(descending=True)
    near = (box_iou(boxes, boxes) > threshold)[order][:, order].numpy()
    free, kept = np.ones(len(order), bool), []
    for one in range(len(order)):
        if free[one]:
            kept.append(one)
            free &= ~near[one]
    return order[torch.tensor(kept, dtype=torch.int64)]


def build(name):
    if name in SEGMENTERS:
        return segmenter(name)
    if name in DETECTORS:
        return detector(name)
    import numpy as np

    size = CLASSIFIERS.get(name) or VIDEOS[name]
    return subject(name, size, y=np.array([1, 7]), weights=None, num_classes=10)


def subject(name, size, y=None, score=None, own=None, **given):
    import torch

    from zoo import weights
    from zoo.modules import Module

    torchvision = load()
    torch.manual_seed(0)
    images = weights.images(size)
    module = torchvision.models.get_model(name, **given)
    module = weights.prepare(module, images)
    count = sum(parameter.numel() for parameter in module.parameters())
    return Module(module, images, y, score, own=own, note=str(size), weights=count)


def segmenter(name):
    import numpy as np
    import torch

    import keras_explainable as ke

    size = SEGMENTERS[name]
    mask = np.zeros((size, size), "float32")
    mask[size // 4 : size // 2, size // 4 : size // 2] = 1
    weight = torch.as_tensor(mask / mask.sum())
    return subject(
        name,
        size,
        score=ke.scores.output("out", ke.scores.region(mask, CHOSEN, axis=1)),
        own=lambda outputs: (outputs["out"][:, CHOSEN] * weight).sum((1, 2)),
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES,
    )


def detector(name):
    """Score the whole image as a box: the confidence of its best detection, times their overlap."""
    import torch
    from torchvision.ops import box_iou

    import keras_explainable as ke

    size = DETECTORS[name]
    whole = [0.0, 0.0, float(size), float(size)]

    def own(outputs):
        return torch.stack([(box_iou(torch.tensor([whole]), one["boxes"])[0] * one["scores"]).max() for one in outputs])

    given = {} if "ssd" in name else {"min_size": size, "max_size": size}
    if "rcnn" in name:
        given |= {"box_score_thresh": 0.0, "box_detections_per_img": 8, "rpn_post_nms_top_n_test": 50}
    else:
        given |= {"score_thresh": 0.0, "detections_per_img": 20, "topk_candidates": 50}
    return subject(
        name,
        size,
        score=ke.scores.box(whole),
        own=own,
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES,
        **given,
    )
