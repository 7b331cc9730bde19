"""keras.applications: the smallest of each family, on TensorFlow."""

SIZES = {
    "ConvNeXtTiny": 128,
    "DenseNet121": 128,
    "EfficientNetB0": 128,
    "EfficientNetV2B0": 128,
    "InceptionResNetV2": 192,
    "InceptionV3": 192,
    "MobileNet": 128,
    "MobileNetV2": 128,
    "MobileNetV3Small": 128,
    "NASNetMobile": 128,
    "ResNet50": 128,
    "ResNet50V2": 128,
    "VGG16": 128,
    "Xception": 160,
}
NAMES = list(SIZES)
BYTES = ("EfficientNet", "ConvNeXt", "MobileNetV3")  # take images from 0 to 255


def build(name):
    import keras

    from zoo import networks

    keras.utils.set_random_seed(0)
    size = SIZES[name]
    model = getattr(keras.applications, name)(weights=None, classes=10, input_shape=(size, size, 3))
    inner = keras.Model(model.inputs, model.layers[-1].input)
    low = 0 if name.startswith(BYTES) else None
    dense = model.layers[-1] if hasattr(model.layers[-1], "kernel") else None  # before an activation alone
    return networks.subject(model, inner, dense, size, low, str(size), run_eagerly=True)
