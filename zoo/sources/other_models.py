"""segmentation_models_pytorch, open_clip and MONAI: two or three models of each, if it is installed."""

SMP = {
    "smp-Unet-resnet18": ("Unet", "resnet18"),
    "smp-FPN-mobilenet_v2": ("FPN", "mobilenet_v2"),
    "smp-DeepLabV3Plus-resnet18": ("DeepLabV3Plus", "resnet18"),
    "smp-Segformer-resnet18": ("Segformer", "resnet18"),
}
CLIP = ("open_clip-ViT-B-32", "open_clip-RN50", "open_clip-coca")
MONAI = (
    "monai-DenseNet121-2d",
    "monai-ResNet10-3d",
    "monai-SEResNet50-2d",
    "monai-ViT-3d",
    "monai-UNet-3d",
    "monai-SegResNet-3d",
)
NAMES = [*SMP, *CLIP, *MONAI]
CHOSEN = 2


def build(name):
    from zoo.sources.torchvision_models import load

    load()
    if name in SMP:
        return unet(*SMP[name])
    return open_clip(name) if name in CLIP else monai(name)


def subject(module, x, y=None, score=None, own=None, note=""):
    from zoo import weights
    from zoo.modules import Module

    module = weights.prepare(module, x)
    count = sum(parameter.numel() for parameter in module.parameters())
    return Module(module, x, y, score, own=own, note=note, weights=count)


def over_region(module, x):
    """One class over a quarter of the image."""
    import numpy as np
    import torch

    import keras_explainable as ke

    mask = np.zeros(x.shape[2:], "float32")
    mask[tuple(slice(s // 4, s // 2) for s in mask.shape)] = 1
    weight = torch.as_tensor(mask / mask.sum())
    return subject(
        module,
        x,
        score=ke.scores.region(mask, CHOSEN, axis=1),
        own=lambda outputs: (outputs[:, CHOSEN] * weight).flatten(1).sum(1),
    )


def unet(kind, encoder):
    import segmentation_models_pytorch as smp
    import torch

    from zoo import weights

    torch.manual_seed(0)
    return over_region(getattr(smp, kind)(encoder, encoder_weights=None, classes=5), weights.images(64))


def open_clip(name):
    """Score the visual tower by the cosine of an image's embedding and a given one."""
    import numpy as np
    import torch
    from open_clip import model as towers

    import keras_explainable as ke
    from zoo import weights

    torch.manual_seed(0)
    small = {"layers": 3, "width": 64, "head_width": 16, "patch_size": 16, "image_size": 64}
    if name.endswith("RN50"):
        small = {"layers": (1, 1, 1, 1), "width": 16, "head_width": 32, "image_size": 64}
    if name.endswith("coca"):
        small |= {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": False}
    module = towers._build_vision_tower(16, towers.CLIPVisionCfg(**small))
    wanted = np.random.default_rng(0).normal(size=16).astype("float32")
    return subject(
        module,
        weights.images(64),
        score=ke.scores.similarity(wanted),
        own=lambda outputs: torch.cosine_similarity(outputs, torch.as_tensor(wanted)[None], dim=-1),
    )


def monai(name):
    import numpy as np
    import torch
    from monai.networks import nets

    from zoo import weights

    torch.manual_seed(0)
    y, cube = np.array([1, 7]), weights.images((32, 32, 32), channels=1)
    given = {"spatial_dims": 3, "in_channels": 1}
    if name.startswith("monai-DenseNet"):
        return subject(
            nets.DenseNet121(spatial_dims=2, in_channels=1, out_channels=10), weights.images(64, channels=1), y
        )
    if name.startswith("monai-SEResNet"):
        return subject(nets.SEResNet50(spatial_dims=2, in_channels=3, num_classes=10), weights.images(64), y)
    if name.startswith("monai-ResNet"):
        return subject(nets.resnet10(spatial_dims=3, n_input_channels=1, num_classes=10), cube, y)
    if name.startswith("monai-ViT"):
        small = {
            "img_size": (32, 32, 32),
            "patch_size": (8, 8, 8),
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_layers": 3,
            "num_heads": 4,
        }
        inner = nets.ViT(1, **small, classification=True, num_classes=10, post_activation="x")
        return subject(first(inner), cube, y)
    if name.startswith("monai-UNet"):
        return over_region(nets.UNet(**given, out_channels=5, channels=(8, 16, 32), strides=(2, 2)), cube)
    return over_region(nets.SegResNet(**given, init_filters=8, out_channels=5), cube)


def first(inner):
    """A module that returns the first output of another."""
    import torch

    class First(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)[0]

    return First()
