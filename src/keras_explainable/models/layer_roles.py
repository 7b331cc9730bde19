"""The role of a call, for methods that propagate something through a network layer by layer. Roles are looked up by the
names of layer classes and operations; the adapters of both frameworks use this table."""

from typing import Any


def _named(pattern: str, *, dims: tuple = (1, 2, 3), torch: bool = True) -> list[str]:
    """Names such as "Conv{}", as Keras (Conv2D) and PyTorch (Conv2d) write them."""
    return [pattern.format(f"{n}{letter}") for n in dims for letter in ("Dd" if torch else "D")]


TIMES = ("Multiply", "mul")  # elementwise
GROUPS: dict[str, list[str]] = {
    # y = W x + b, with a kernel that can be replaced: convolutions, and others
    "convolution": [*_named("Conv{}"), *_named("Conv{}Transpose", torch=False), *_named("ConvTranspose{}")]
    + _named("DepthwiseConv{}", torch=False),
    "dense": ["Dense", "Linear"],
    # a scale and a shift for each channel
    "norm": ["BatchNormalization", *_named("BatchNorm{}"), "SyncBatchNorm"],
    "scaling": ["Rescaling", "Normalization"],
    # elementwise functions
    "relu": ["ReLU", "relu", "Relu", "ReLU6", "relu6", "Relu6"],
    "activation": [
        "LeakyReLU",
        "leaky_relu",
        "LeakyRelu",
        "PReLU",
        "prelu",
        "ELU",
        "elu",
        "Elu",
        "SELU",
        "selu",
        "Selu",
    ]
    + ["CELU", "celu", "Celu", "GELU", "gelu", "Gelu", "SiLU", "silu", "Silu", "swish", "Hardswish", "hardswish"]
    + ["hard_silu", "HardSilu", "hard_swish", "HardSwish", "Softplus", "softplus", "Tanh", "tanh", "Mish", "mish"],
    "sigmoid": ["Sigmoid", "sigmoid", "Hardsigmoid", "hard_sigmoid", "HardSigmoid", "hardsigmoid"],
    "average": [*_named("AveragePooling{}", torch=False), *_named("GlobalAveragePooling{}", torch=False)]
    + [*_named("AvgPool{}"), *_named("AdaptiveAvgPool{}"), "Mean", "mean", "avg_pool1d", "avg_pool2d", "avg_pool3d"]
    + ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"],
    "maximum": [*_named("MaxPooling{}", torch=False), *_named("GlobalMaxPooling{}", torch=False)]
    + [*_named("MaxPool{}"), *_named("AdaptiveMaxPool{}"), "max_pool1d", "max_pool2d", "max_pool3d"]
    + ["adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax"],
    "sum": ["Add", "add", "iadd"],
    # y = x1 x2, linear in each
    "product": [*TIMES, "Matmul", "matmul", "rmatmul", "bmm", "Einsum", "einsum"]
    + ["mm", *_named("conv{}"), *_named("conv_transpose{}"), "Conv", "DepthwiseConv", "ConvTranspose"],
    "additive": ["Subtract", "sub", "add_scaled", "rsub", "Negative", "neg", "Sum", "sum"],
    "quotient": ["Divide", "TrueDivide", "div"],
    "layernorm": ["LayerNormalization", "RMSNormalization", "LayerNorm", "RMSNorm", "layer_norm", "rms_norm"]
    + ["GroupNormalization", "GroupNorm", "group_norm", "normalize"],
    "softmax": ["Softmax", "softmax"],
    "attention": ["MultiHeadAttention", "scaled_dot_product_attention", "multi_head_attention_forward"],
    # uses only the shape of a tensor
    "blank": ["new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like", "empty_like"]
    + ["ZerosLike", "OnesLike", "FullLike"],
    # each output value is an input value or a constant
    "moving": ["Flatten", "flatten", "Reshape", "reshape", "view", "Permute", "permute", "Transpose", "transpose"]
    + ["Concatenate", "concatenate", "cat", "concat", "Squeeze", "squeeze", "unsqueeze", "ExpandDims", "Unflatten"]
    + [*_named("ZeroPadding{}"), *_named("ZeroPad{}"), "pad", "Pad", *_named("Cropping{}"), "GetItem", "getitem"]
    + [*_named("UpSampling{}"), "Identity", "identity", "linear", "Dropout", "dropout", *_named("SpatialDropout{}")]
    + [*_named("Dropout{}"), "AlphaDropout", "GaussianNoise", "GaussianDropout", "ActivityRegularization", "contiguous"]
    + ["clone", "split", "chunk", "Split", "StochasticDepth", "InputLayer", "expand", "expand_as", "BroadcastTo"]
    + ["unbind", "stack", "Stack", "roll", "Roll", "narrow", "select", "index_select", "repeat", "flip", "Flip", "t"]
    + ["swapaxes", "Swapaxes", "movedim", "moveaxis", "Moveaxis", "unflatten", "type_as", "to", "float"]
    + ["view_as", "reshape_as"],
}
ROLES = {name: group for group, names in GROUPS.items() for name in names}
WEIGHTED = {name: "convolution" for name in GROUPS["product"] if name.lower().startswith(("conv", "depthwise"))}
WEIGHTED |= dict.fromkeys(["linear", "Matmul", "matmul", "rmatmul", "bmm", "mm", "Einsum", "einsum"], "dense")
HOUSES = ("keras", "torch", "torchvision")  # packages of these classes; a user's class of the same name may do anything
AMBIGUOUS = ("clamp", "clamp_min", "clip", "max", "maximum", "where", "threshold", "hardtanh", "rrelu", "masked_fill")
RECTIFIERS = ("relu", "Relu", "relu6", "Relu6")  # no slope below 0
LINEAR = ("convolution", "dense")
ELEMENTWISE = ("relu", "activation", "sigmoid")
# LOCAL roles keep every value at its position; so do the "moving" operations that are STAYING.
LOCAL = ("convolution", "norm", "scaling", "relu", "activation", "sigmoid", "average", "maximum", "sum")
STAYING = ("identity", "dropout", "concatenate", "concat", "cat", "pad", "clone", "contiguous", "inputlayer", "to")
STAYING_BY_BEGINNING = (
    "zeropad",
    "upsampling",
    "dropout",
    "spatialdropout",
    "gaussian",
    "alphadropout",
    "stochasticdepth",
)
# Operations that may drop positions.
CHOOSING = ("getitem", "split", "chunk", "unbind", "narrow", "select", "index_select", "roll", "expand", "broadcastto")
# Words in the names of layers that change sizes, that move values, and that may draw random numbers.
SIZING = ("conv", "pool", "pad", "crop", "interpolate", "resiz", "upsampl")
TURNING = ("flip", "roll", "rot", "shuffle")
DRAWING = ("dropout", "noise", "random")


def of_name(name: str | None) -> str | None:
    """The role of an activation or operation of a name, or None if it is unknown."""
    return ROLES.get(name) if name else None


def of_operation(name: str) -> str | None:
    """The role of an operation outside of layers; None if its arguments decide whether it is a ReLU or another
    activation."""
    if name.lower() in AMBIGUOUS:
        return None
    return "product" if name == "linear" else ROLES.get(name, "other")  # the function with weights, not the activation


def of_layer(layer: Any, entry: str) -> str | None:
    """The role of a layer, by its class or the nearest base class. "other" if that is the framework's but not in the
    table. None for a user's own class, or if a class in between overrides the method `entry` (`call`, `forward`)."""
    for one in type(layer).__mro__:
        framework = one.__module__.partition(".")[0] in HOUSES
        if framework and one.__name__ in ROLES:
            return ROLES[one.__name__]
        if entry in vars(one):
            return "other" if framework else None
    return None
