"""KerasHub: its image backbones in small configurations, each with a classification head, on PyTorch."""

SQUARE = {"image_shape": (64, 64, 3)}
STACK = {"stackwise_num_filters": [64, 64, 96], "stackwise_num_blocks": [1, 1, 1], "stackwise_num_strides": [1, 2, 2]}
STEM = {"input_conv_filters": [64], "input_conv_kernel_sizes": [7]}
TOKENS = {"num_layers": 3, "num_heads": 4, "hidden_dim": 32}
CSP = {
    "stem_filters": 16,
    "stem_kernel_size": 3,
    "stem_strides": 2,
    "stackwise_depth": [1, 2],
    "stackwise_strides": [2, 2],
    "stackwise_num_filters": [32, 48],
    "block_ratio": [0.5],
    "expand_ratio": [1.0],
    "bottle_ratio": [1.0],
}
MODELS = {
    "CSPNet-darknet": ("CSPNetBackbone", CSP | SQUARE | {"block_type": "dark_block", "stage_type": "csp"}),
    "CSPNet-resnext": (
        "CSPNetBackbone",
        CSP | SQUARE | {"block_type": "bottleneck_block", "stage_type": "csp", "groups": 4},
    ),
    "DenseNet": ("DenseNetBackbone", {"stackwise_num_repeats": [2, 2, 2], "growth_rate": 16} | SQUARE),
    "EfficientNet": (
        "EfficientNetBackbone",
        {
            "stackwise_kernel_sizes": [3, 3, 5],
            "stackwise_num_repeats": [1, 2, 1],
            "stackwise_input_filters": [16, 16, 24],
            "stackwise_output_filters": [16, 24, 40],
            "stackwise_expansion_ratios": [1, 6, 6],
            "stackwise_squeeze_and_excite_ratios": [0.25, 0.25, 0.25],
            "stackwise_strides": [1, 2, 2],
            "stackwise_block_types": ["v1", "v1", "v1"],
            "stackwise_force_input_filters": [0, 0, 0],
            "stackwise_nores_option": [False, False, False],
            "stackwise_width_coefficients": [1.0, 1.0, 1.0],
            "stackwise_depth_coefficients": [1.0, 1.0, 1.0],
            "num_features": 64,
            "input_shape": (64, 64, 3),
        },
    ),
    "HGNetV2": (
        "HGNetV2Backbone",
        {
            "depths": [1, 2],
            "embedding_size": 16,
            "hidden_sizes": [32, 48],
            "stem_channels": [3, 16, 16],
            "hidden_act": "relu",
            "use_learnable_affine_block": True,
            "stackwise_stage_filters": [(16, 16, 32, 1, 3, 3), (32, 16, 48, 2, 3, 3)],
            "apply_downsample": [False, True],
            "use_lightweight_conv_block": [False, False],
        }
        | SQUARE,
    ),
    "MiT": (
        "MiTBackbone",
        {
            "layerwise_depths": [1, 1, 1],
            "num_layers": 3,
            "layerwise_num_heads": [1, 2, 2],
            "layerwise_sr_ratios": [4, 2, 1],
            "max_drop_path_rate": 0.0,
            "layerwise_patch_sizes": [7, 3, 3],
            "layerwise_strides": [4, 2, 2],
            "hidden_dims": [16, 32, 48],
        }
        | SQUARE,
    ),
    "ResNet": ("ResNetBackbone", STACK | STEM | SQUARE | {"block_type": "basic_block"}),
    "ResNetV2": (
        "ResNetBackbone",
        STACK | STEM | SQUARE | {"block_type": "bottleneck_block", "use_pre_activation": True},
    ),
    "VGG": ("VGGBackbone", {"stackwise_num_repeats": [1, 1, 2], "stackwise_num_filters": [16, 32, 48]} | SQUARE),
    "ViT": ("ViTBackbone", TOKENS | SQUARE | {"patch_size": 16, "mlp_dim": 64}),
    "DeiT": ("DeiTBackbone", TOKENS | SQUARE | {"patch_size": 16, "intermediate_dim": 64}),
    "DINOv2": (
        "DINOV2Backbone",
        TOKENS | SQUARE | {"patch_size": 16, "intermediate_dim": 64, "position_embedding_shape": (64, 64, 3)},
    ),
    "DINOv3": ("DINOV3Backbone", TOKENS | SQUARE | {"patch_size": 16, "intermediate_dim": 64}),
    "SwinTransformer": (
        "SwinTransformerBackbone",
        {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "drop_path": 0.0} | SQUARE,
    ),
    "ViTDet": (
        "ViTDetBackbone",
        {
            "hidden_size": 32,
            "num_layers": 3,
            "intermediate_dim": 64,
            "num_heads": 4,
            "global_attention_layer_indices": [2],
            "num_output_channels": 16,
            "window_size": 2,
        }
        | SQUARE,
    ),
    "Xception": (
        "XceptionBackbone",
        {"stackwise_conv_filters": [[16, 32], [32, 48], [48, 64]], "stackwise_pooling": [True, True, False]} | SQUARE,
    ),
}
NAMES = list(MODELS)


def build(name):
    """Build the backbone with ten classes on the mean of its map, or on its class token."""
    import keras
    import keras_hub

    from zoo import networks

    keras.utils.set_random_seed(0)
    kind, given = MODELS[name]
    backbone = getattr(keras_hub.models, kind)(**given)
    features = backbone.output
    if isinstance(features, dict):
        features = features[list(features)[-1]]
    pooled = keras.layers.GlobalAveragePooling2D()(features) if len(features.shape) == 4 else features[:, 0]
    dense = keras.layers.Dense(10, name="classes")
    model = keras.Model(backbone.input, dense(pooled))
    return networks.subject(model, keras.Model(backbone.input, pooled), dense, 64, note=kind)
