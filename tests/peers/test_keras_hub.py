"""KerasHub's vision transformers, whose blocks are layers of its own, beside the same network of Keras's layers."""

import keras
import numpy as np
import pytest

from support import keras_models
from support.calls import raw
from support.compare import close

pytestmark = pytest.mark.peers
UNITS = [[1], [2]]


@pytest.fixture(scope="module")
def hub():
    reason = "KerasHub is not installed, or not for these versions: make test-peers"
    return pytest.importorskip("keras_hub", reason=reason, exc_type=ImportError)


def again(layer, *inputs):
    """What a layer of the same kind and weights gives, under another name."""
    same = type(layer).from_config(layer.get_config() | {"name": None})
    outputs = same(*inputs)
    same.set_weights(layer.get_weights())
    return outputs


def of_layers(model):
    """The same network of Keras's layers, with the same weights."""
    backbone = model.backbone
    embed, encoder = backbone.get_layer("vit_patching_and_embedding"), backbone.get_layer("vit_encoder")
    inputs = keras.Input((32, 48, 3))
    x = keras.layers.Reshape((24, 16))(embed.patch_embedding(inputs))
    token = keras.ops.convert_to_numpy(embed.class_token)
    positions = keras.ops.convert_to_numpy(embed.position_embedding.embeddings)
    x = keras_models.Tokens(name="tokens")(x)
    for block in encoder.encoder_layers:
        y = again(block.layer_norm_1, x)
        x = keras.layers.Add()([x, again(block.mha, y, y)])
        y = again(block.mlp.dense_1, again(block.layer_norm_2, x))
        x = keras.layers.Add()([x, again(block.mlp.dense_2, y)])
    x = keras_models.First()(encoder.layer_norm(x))
    layers = keras.Model(inputs, model.output_dense(x))
    layers.get_layer("tokens").set_weights([token, positions])
    return layers


@pytest.mark.parametrize("method", ["attention_rollout", "attention_relevance", "attnlrp", "gradcam"])
def test_own_blocks_are_explained_as_layers_are(hub, method, rng):
    backbone = hub.models.ViTBackbone(
        image_shape=(32, 48, 3), patch_size=(8, 8), num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24
    )
    model = keras_models.randomize(hub.models.ViTImageClassifier(backbone=backbone, num_classes=5))
    x = rng.normal(size=(2, 32, 48, 3)).astype("float32")
    ours = raw(method, model, x, UNITS)
    close(ours, raw(method, of_layers(model), x, UNITS))
    assert np.ptp(ours.maps) > 1e-3
