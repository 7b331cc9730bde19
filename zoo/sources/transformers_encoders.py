"""transformers: image encoders and backbones, whose one channel is explained, and models of images and texts."""

from zoo.sources.transformers_parts import STAGES, SWIN, TEXT, VISION, WIDE, averaged, picked, pooled

SAM = {
    "hidden_size": 32,
    "output_channels": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 128,
    "window_size": 4,
    "global_attn_indexes": [2],
    "mlp_dim": 64,
}
HIERA = {
    "hidden_size": 16,
    "image_size": [64, 64],
    "blocks_per_stage": [1, 1, 2, 1],
    "embed_dim_per_stage": [16, 32, 64, 128],
    "num_attention_heads_per_stage": [1, 2, 4, 8],
    "global_attention_blocks": [3],
    "window_size_per_stage": [4, 2, 4, 2],
}
RANGE = {"initializer_range": 0.02}


def vision(name, size=64, **given):
    """Return the vision tower and its configuration whose names start with a name."""
    return pooled(f"{name}VisionModel", f"{name}VisionConfig", size, **VISION | given)


MODELS = {
    "ViT-encoder": pooled("ViTModel", "ViTConfig", **VISION),
    "DINOv3-ViT": pooled("DINOv3ViTModel", "DINOv3ViTConfig", **VISION, num_register_tokens=4),
    "DINOv3-ConvNext": pooled("DINOv3ConvNextModel", "DINOv3ConvNextConfig", 128, **STAGES),
    "BLIP-vision": vision("Blip", **RANGE),
    "BLIP2-vision": vision("Blip2", **RANGE),
    "InstructBLIP-vision": vision("InstructBlip", **RANGE),
    "AltCLIP-vision": vision("AltCLIP"),
    "ChineseCLIP-vision": vision("ChineseCLIP"),
    "CLIPSeg-vision": vision("CLIPSeg"),
    "X-CLIP-vision": vision("XCLIP", num_frames=1),
    "OWL-ViT-vision": vision("OwlViT"),
    "OWLv2-vision": vision("Owlv2"),
    "SigLIP-vision": vision("Siglip"),
    "GroupViT-vision": pooled(
        "GroupViTVisionModel",
        "GroupViTVisionConfig",
        hidden_size=32,
        depths=[1, 1, 1],
        num_group_tokens=[8, 4, 0],
        num_output_groups=[8, 4, 4],
        num_attention_heads=4,
        intermediate_size=64,
        image_size=64,
    ),
    "MLCD-vision": vision("MLCD", num_key_value_groups=1),
    "GIT-vision": averaged("GitVisionModel", "GitVisionConfig", **VISION),
    "InternVL-vision": averaged(
        "InternVLVisionModel", "InternVLVisionConfig", **VISION | {"image_size": [64, 64], "patch_size": [16, 16]}
    ),
    "Janus-vision": vision("Janus"),
    "AIMv2-vision": pooled("Aimv2VisionModel", "Aimv2VisionConfig", **VISION),
    "FLAVA-image": pooled("FlavaImageModel", "FlavaImageConfig", **VISION),
    "ALIGN-vision": pooled(
        "AlignVisionModel",
        "AlignVisionConfig",
        128,
        image_size=128,
        width_coefficient=0.5,
        depth_coefficient=0.5,
        hidden_dim=640,
    ),
    "SAM-vision": averaged("SamVisionModel", "SamVisionConfig", 128, **SAM, **RANGE),
    "SAM-HQ-vision": averaged("SamHQVisionModel", "SamHQVisionConfig", 128, **SAM, **RANGE),
    "SAM2-Hiera": picked(
        "Sam2HieraDetModel", "Sam2HieraDetConfig", 64, lambda o: o.last_hidden_state.mean((1, 2))[:, 3], **HIERA
    ),
    "ViTDet": averaged("VitDetModel", "VitDetConfig", **WIDE | {"image_size": 64}),
    "ViTPose-backbone": picked(
        "VitPoseBackbone",
        "VitPoseBackboneConfig",
        64,
        lambda o: o.feature_maps[0].mean(1)[:, 3],
        **WIDE,
        image_size=[64, 64],
        patch_size=[16, 16],
    ),
    "MaskFormer-Swin": averaged("MaskFormerSwinModel", "MaskFormerSwinConfig", **SWIN),
    "Radio": picked("RadioModel", "RadioConfig", 64, lambda o: o.summary[:, 3], **VISION),
    "Pixio": averaged("PixioModel", "PixioConfig", **VISION),
    "TIPSv2-vision": pooled("Tipsv2VisionModel", "Tipsv2VisionConfig", **VISION),
    "PP-LCNet": picked(
        "PPLCNetForImageClassification", "PPLCNetConfig", 128, lambda o: o.last_hidden_state[:, 1], scale=0.25
    ),
    "PP-LCNetV3": picked(
        "PPLCNetV3Backbone", "PPLCNetV3Config", 128, lambda o: o.feature_maps[-1].mean((2, 3))[:, 3], scale=0.25
    ),
    "Sapiens2": averaged("Sapiens2Model", "Sapiens2Config", **VISION),
    "ViTMAE-encoder": picked(
        "ViTMAEModel", "ViTMAEConfig", 64, lambda o: o.last_hidden_state[:, 0, 3], **VISION, mask_ratio=0.0
    ),
    "ViTMAE": picked(
        "ViTMAEForPreTraining",
        "ViTMAEConfig",
        64,
        lambda o: o.logits.mean((1, 2)),
        **VISION,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=64,
    ),
}


def clip_config(**given):
    text = TEXT | {"projection_dim": 16, "eos_token_id": 98, "bos_token_id": 1}
    from zoo.sources.transformers_parts import config

    return config("CLIPConfig", text_config=text, vision_config=VISION | {"projection_dim": 16}, projection_dim=16)


def words():
    """Return two equal texts, so that each image has the same texts."""
    import numpy as np

    row = np.random.default_rng(0).integers(2, 90, 8)
    row[-1] = 98
    return np.stack([row, row])


def with_texts(name):
    """Score how well images match a text: `logits_per_image`."""

    def make():
        import numpy as np

        import keras_explainable as ke
        from zoo.sources import transformers_parts as parts

        chosen = (
            clip_config()
            if name == "CLIPModel"
            else parts.config("SiglipConfig", text_config=TEXT, vision_config=VISION)
        )
        x = {"input_ids": words(), "pixel_values": parts.images(64)}
        if name == "CLIPModel":
            x["attention_mask"] = np.ones((2, 8), "int64")
        return parts.subject(
            parts.model(name, chosen),
            x,
            np.array([0, 0]),
            ke.scores.output("logits_per_image"),
            lambda outputs: outputs.logits_per_image[:, 0],
            "pixel_values",
        )

    return make


def embedded(name, configuration, field):
    """Score the cosine of an image's embedding and a given one."""

    def make():
        import numpy as np
        import torch

        import keras_explainable as ke
        from zoo.sources import transformers_parts as parts

        given = VISION | ({"projection_dim": 16} if field == "image_embeds" else {})
        wanted = np.random.default_rng(0).normal(size=16 if field == "image_embeds" else 32).astype("float32")
        return parts.subject(
            parts.model(name, parts.config(configuration, **given)),
            parts.images(64),
            score=ke.scores.output(field, ke.scores.similarity(wanted)),
            own=lambda outputs: torch.cosine_similarity(outputs[field], torch.as_tensor(wanted)[None], dim=-1),
        )

    return make


MODELS |= {
    "CLIP-embedding": embedded("CLIPVisionModelWithProjection", "CLIPVisionConfig", "image_embeds"),
    "SigLIP-embedding": embedded("SiglipVisionModel", "SiglipVisionConfig", "pooler_output"),
    "CLIP-texts": with_texts("CLIPModel"),
    "SigLIP-texts": with_texts("SiglipModel"),
}
