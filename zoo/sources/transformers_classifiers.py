"""transformers: the image and video classifiers."""

from zoo.sources.transformers_parts import RESNET, STAGES, SWIN, VISION, WIDE, classifier

DINO = VISION | {"image_size": 56, "patch_size": 14}
LAYERS = {"embedding_size": 16, "hidden_sizes": [32, 32, 64, 64], "depths": [1, 1, 1, 1]}
MOBILE = {"image_size": 128, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 24, 32, 32, 64]}
MIX = STAGES | {"num_attention_heads": [1, 1, 2, 4], "decoder_hidden_size": 16}
PYRAMID = {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1]}
PERCEIVER = {
    "num_latents": 16,
    "d_latents": 32,
    "num_blocks": 1,
    "num_self_attends_per_block": 2,
    "num_self_attention_heads": 4,
    "image_size": 224,
}
FRAMES = WIDE | {"image_size": 32, "patch_size": 8, "num_frames": 4}
CLIP = {"text_config": WIDE, "vision_config": VISION}


def of(name, size=64, **given):
    """Return the classifier and the configuration whose names start with a name."""
    return classifier(f"{name}ForImageClassification", f"{name}Config", size, **given)


MODELS = {
    "ViT": of("ViT", **VISION),
    "ViT-eager": of("ViT", attention="eager", **VISION),
    "DeiT": of("DeiT", **VISION),
    "DeiT-teacher": classifier("DeiTForImageClassificationWithTeacher", "DeiTConfig", **VISION),
    "BEiT": of("Beit", **VISION, use_relative_position_bias=True, use_mean_pooling=True),
    "BEiT-cls": of("Beit", **VISION, use_mean_pooling=False),
    "data2vec": of("Data2VecVision", **VISION),
    "Swin": of("Swin", **SWIN),
    "SwinV2": of("Swinv2", **SWIN),
    "Donut-Swin": of("DonutSwin", **SWIN),
    "ConvNext": of("ConvNext", 128, **STAGES),
    "ConvNextV2": of("ConvNextV2", 128, **STAGES),
    "ResNet": of("ResNet", 128, **RESNET),
    "RegNet": of("RegNet", 128, **LAYERS, groups_width=8),
    "BiT": of("Bit", 128, **LAYERS, num_groups=8),
    "MobileNetV1": of("MobileNetV1", 128, depth_multiplier=0.25),
    "MobileNetV2": of("MobileNetV2", 128, depth_multiplier=0.35),
    "MobileViT": of("MobileViT", 128, **MOBILE),
    "MobileViTV2": of("MobileViTV2", 128, image_size=128, width_multiplier=0.25),
    "LeViT": of("Levit", 112, image_size=112),
    "LeViT-teacher": classifier("LevitForImageClassificationWithTeacher", "LevitConfig", 112, image_size=112),
    "PVT": of("Pvt", **PYRAMID, image_size=64),
    "PVTv2": of("PvtV2", 128, **PYRAMID, image_size=128),
    "PoolFormer": of("PoolFormer", 128, **STAGES),
    "CvT": of("Cvt", 128, embed_dim=[16, 24, 32], num_heads=[1, 2, 2], depth=[1, 2, 3]),
    "FocalNet": of(
        "FocalNet", image_size=64, embed_dim=16, depths=[1, 1, 1], focal_levels=[2] * 3, focal_windows=[3] * 3
    ),
    "EfficientNet": of(
        "EfficientNet", 128, image_size=128, width_coefficient=0.5, depth_coefficient=0.5, hidden_dim=640
    ),
    "DINOv2": of("Dinov2", 56, **DINO),
    "DINOv2-registers": of("Dinov2WithRegisters", 56, **DINO),
    "I-JEPA": of("IJepa", **VISION),
    "ViT-MSN": of("ViTMSN", **VISION),
    "Hiera": of("Hiera", image_size=[64, 64], embed_dim=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4]),
    "SwiftFormer": of("SwiftFormer", 128, image_size=128),
    "TextNet": of("TextNet", 128),
    "HGNetV2": of("HGNetV2", 128),
    "Segformer": of("Segformer", 128, **MIX),
    "CLIP": of("CLIP", **CLIP),
    "MetaCLIP2": of("MetaClip2", **CLIP),
    "SigLIP": of("Siglip", **CLIP),
    "Perceiver": classifier(
        "PerceiverForImageClassificationLearned",
        "PerceiverConfig",
        224,
        **PERCEIVER,
        d_model=512,
        num_cross_attention_heads=4,
    ),
    "Perceiver-conv": classifier(
        "PerceiverForImageClassificationConvProcessing",
        "PerceiverConfig",
        224,
        **PERCEIVER,
        d_model=322,
        num_cross_attention_heads=1,
    ),
    "TimmWrapper": of("TimmWrapper", 128, architecture="resnet10t", model_args={}),
}


def film(name, configuration, **given):
    """Wrap a video classifier, which takes frames (N, T, C, H, W), in a module that takes videos (N, C, T, H, W)."""

    def make():
        import numpy as np

        from zoo.sources import transformers_parts as parts

        module = turned(parts.model(name, parts.config(configuration, **given, num_labels=10)))
        return parts.subject(module, parts.images((given.get("num_frames", 4), 32, 32)), np.array([1, 7]))

    return make


def turned(inner):
    import torch

    class Frames(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, videos):
            return self.inner(videos.transpose(1, 2)).logits

    return Frames()


MODELS |= {
    "VideoMAE": film("VideoMAEForVideoClassification", "VideoMAEConfig", **FRAMES, tubelet_size=2),
    "TimeSformer": film("TimesformerForVideoClassification", "TimesformerConfig", **FRAMES),
    "ViViT": film(
        "VivitForVideoClassification", "VivitConfig", **WIDE, image_size=32, num_frames=4, tubelet_size=[2, 8, 8]
    ),
    "V-JEPA2": film(
        "VJEPA2ForVideoClassification",
        "VJEPA2Config",
        crop_size=32,
        patch_size=8,
        frames_per_clip=4,
        tubelet_size=2,
        hidden_size=48,
        num_attention_heads=4,
        num_hidden_layers=2,
        num_pooler_layers=1,
        pred_hidden_size=48,
        pred_num_attention_heads=4,
        pred_num_hidden_layers=1,
    ),
}
