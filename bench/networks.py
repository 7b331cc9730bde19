"""The measured networks, with random weights that are equal on every backend. Nothing is downloaded."""

import functools

import numpy as np

NETWORKS = ("ResNet50", "VGG16", "DenseNet121", "ViT")
NATIVE = {"ResNet50": "resnet50", "VGG16": "vgg16", "DenseNet121": "densenet121", "ViT": "vit_b_16"}

SHAPES = {"demo": (96, 10)}  # networks with a fixed image size and number of units

# The modules whose output is explained. Otherwise the last spatial one may be a module that is called several times.
LAYERS = {
    "ResNet50": "layer4",
    "resnet18": "layer4",
    "VGG16": "features",
    "vgg11_bn": "features",
    "DenseNet121": "features",
    "demo": "features",
}
TAILS = ("ResNet50", "VGG16", "demo")  # networks of which the modules after this one run one after the other


def keras_model(name, size):
    """Return a Keras model with 1000 logits for images (size, size, 3)."""
    import keras

    if name == "demo":  # the package's small trained network, of fixed size
        import keras_explainable as ke

        return ke.demo.load_model()
    shape = (size, size, 3)
    if name == "ViT":
        model = vit(shape)
    else:
        model = getattr(keras.applications, name)(weights=None, input_shape=shape, classifier_activation=None)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(drawn(weight.name, tuple(weight.shape), rng))
    return model


def drawn(name, shape, rng):
    """Draw values that keep the size of activations through many layers."""
    if name in ("gamma", "moving_variance", "running_var"):
        return rng.uniform(0.8, 1.2, shape).astype("float32")
    width = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.05
    return (rng.standard_normal(shape, dtype="float32") * width).astype("float32")


def vit(shape, patch=16, width=192, heads=3, depth=12):
    """Return a vision transformer of the size of DeiT-Tiny, with mean pooling."""
    from keras import Input, Model, layers, ops

    x = inputs = Input(shape)
    x = layers.Conv2D(width, patch, strides=patch, name="patches")(x)
    x = layers.Reshape((-1, width))(x)
    for i in range(depth):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{i}a")(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads, name=f"attention{i}")(y, y)])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{i}b")(x)
        y = layers.Dense(4 * width, activation="gelu", name=f"wide{i}")(y)
        x = layers.Add()([x, layers.Dense(width, name=f"narrow{i}")(y)])
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    side = shape[0] // patch
    x = layers.Reshape((side, side, width), name="grid")(x)
    return Model(inputs, layers.Dense(1000, name="logits")(ops.mean(x, axis=(1, 2))), name="vit")


@functools.cache
def torchvision():
    """Import torchvision. Its models run without its compiled operators (`pip install --no-deps torchvision`)."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):  # declared, so that it can be imported without them
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    return torchvision, library


def module(name):
    """Return a torchvision network in evaluation mode. Its weights require gradients, as when users load it."""
    import torch

    if name == "demo":
        import keras_explainable as ke

        return ke.demo.load_module()
    torch.manual_seed(0)
    found = getattr(torchvision()[0].models, NATIVE.get(name, name))(weights=None)
    head = getattr(getattr(found, "heads", None), "head", None)
    if head is not None:  # a ViT's head starts with zeros, which would make every gradient zero
        torch.nn.init.normal_(head.weight, std=0.02)
    return found.eval()
