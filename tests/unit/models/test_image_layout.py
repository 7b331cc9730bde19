"""What a model does with its images first: maps are of the axes and the places that it looks at, and equal those of the
model without it on images that were changed by hand."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.errors import InputError
from support import keras_models
from support.calls import few, raw
from support.compare import close
from support.selection import BACKEND, crossed, slow_compiled

pytestmark = slow_compiled

RNG = np.random.default_rng(3)
torch_only = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
INPUTS = ["gradients", "input_x_gradient", "integrated_gradients", "occlusion"]


def images(*shape):
    return RNG.uniform(size=(2, *shape)).astype("float32")


def behind(front, shape, rank=2):
    """A model of convolutions behind a layer of its own, and the same without that layer, for what that one gives."""
    convolution, pooling = getattr(L, f"Conv{rank}D"), getattr(L, f"GlobalAveragePooling{rank}D")
    stack = [convolution(6, 3, padding="same", activation="relu", name="conv"), pooling(), L.Dense(4)]
    inputs = keras.Input(shape)
    seen = front(inputs)
    model = keras_models.randomize(keras.Model(inputs, keras.Sequential(stack)(seen)))
    alone = keras.Input(seen.shape[1:])
    return model, keras.Model(alone, model.layers[-1](alone))


LAYOUTS = {
    "channels moved": ((3, 10, 12), L.Permute((2, 3, 1)), lambda x: np.moveaxis(x, 1, -1), 2),
    "no channels": ((10, 12), L.Reshape((10, 12, 1)), lambda x: x[..., None], 2),
    "a waveform": ((30,), L.Reshape((30, 1)), lambda x: x[..., None], 1),
    "scaled and moved": (
        (3, 10, 12),
        lambda x: L.Rescaling(2.0, -1.0)(L.Permute((2, 3, 1))(x)),
        lambda x: 2 * np.moveaxis(x, 1, -1) - 1,
        2,
    ),
}


@pytest.mark.parametrize(
    ("case", "method"), crossed(LAYOUTS, ["gradcam", "occlusion", "integrated_gradients", "full_gradients"])
)
def test_channels_are_where_the_model_takes_them(case, method):
    shape, front, by_hand, rank = LAYOUTS[case]
    model, twin = behind(front, shape, rank)
    x = images(*shape)
    scale = {"baseline": -1.0} if case.startswith("scaled") and method == "integrated_gradients" else {}
    ours = raw(method, model, x, 1, **few(method))
    if case.startswith("scaled") and method in ("full_gradients", "occlusion"):  # the offset is a bias; grey is another
        close([ours.scores], [raw(method, twin, by_hand(x), 1).scores])
    else:
        close(ours, raw(method, twin, by_hand(x), 1, **few(method), **scale), 1e-4)


@pytest.mark.parametrize(
    "method", ["gradients", "input_x_gradient", "integrated_gradients", "kernel_shap", "deep_shap"]
)
def test_features_are_explained_one_by_one(method):
    model = keras_models.randomize(keras.Sequential([keras.Input((6,)), L.Dense(5, activation="relu"), L.Dense(3)]))
    x = images(6)
    same = {"segments": np.arange(6), "baseline": 0.0} if method == "kernel_shap" else {}
    same |= {"repetitions": 256} if method in ("kernel_shap", "integrated_gradients") else {}
    found = raw(method, model, x, 1, **same)
    if method == "gradients":
        (w, b), v = model.layers[0].get_weights(), model.layers[1].get_weights()[0]
        expected = abs(((x @ w + b > 0) * v[:, 1]) @ w.T)
        close([found.maps], [expected[..., None]])
    else:
        zero = ops.convert_to_numpy(model(np.zeros_like(x)))[:, 1]
        total = {"input_x_gradient": None}.get(method, found.scores[:, 0] - zero)
        assert found.maps.shape == (2, 6, 1)
        assert total is None or abs(found.maps.sum((1, 2)) - total).max() < 0.02 * abs(found.scores).max()


def test_rows_of_a_flattened_image_are_all_of_space():
    model = keras_models.randomize(keras.Sequential([keras.Input((7, 9)), L.Flatten(), L.Dense(3)]))
    x = images(7, 9)
    kernel = model.layers[1].get_weights()[0]
    expected = (x.reshape(2, 63) * kernel[:, 1]).reshape(2, 7, 9, 1)
    close([raw("input_x_gradient", model, x, 1).maps], [expected])


def test_the_users_word_on_the_channels_counts():
    model = keras_models.randomize(keras.Sequential([keras.Input((7, 9)), L.Flatten(), L.Dense(3)]))
    x = images(7, 9)
    kernel = model.layers[1].get_weights()[0]
    expected = (x.reshape(2, 63) * kernel[:, 1]).reshape(2, 7, 9)
    for channels, axis in (("last", 2), (1, 1), ("first", 1)):
        found = raw("input_x_gradient", model, x, 1, channels=channels)
        close([found.maps], [expected.sum(axis)[..., None]])
    with pytest.raises(InputError, match='channels=5 came .* "first", "last", "none" or the number'):
        raw("gradients", model, x, 1, channels=5)


def test_a_baseline_has_the_users_layout():
    model, twin = behind(L.Permute((2, 3, 1)), (3, 10, 12))
    x, baseline = images(3, 10, 12), images(3, 10, 12)[:1]
    ours = raw("integrated_gradients", model, x, 1, repetitions=4, baseline=baseline)
    moved = [np.moveaxis(v, 1, -1) for v in (x, baseline)]
    close(ours, raw("integrated_gradients", twin, moved[0], 1, repetitions=4, baseline=moved[1]), 1e-4)


def test_a_method_called_by_itself_does_not_guess():
    model, _ = behind(L.Permute((2, 3, 1)), (3, 10, 12))
    with pytest.raises(InputError, match="takes their channels from another axis.*through ke.explain"):
        ke.methods.gradient.gradients(model, images(3, 10, 12), 1)


WINDOWS = {
    "centre": (L.CenterCrop(16, 16), (40, 40), (slice(12, 28), slice(12, 28))),
    "cropping": (L.Cropping2D(((20, 4), (0, 6))), (40, 40), (slice(20, 36), slice(0, 34))),
    "slice": (lambda x: x[:, 5:, :-8], (24, 30), (slice(5, 24), slice(0, 22))),
    "scaled": (
        lambda x: L.CenterCrop(16, 16)(L.Rescaling(1 / 127.5, -1.0)(x)),
        (40, 40),
        (slice(12, 28), slice(12, 28)),
    ),
}


@pytest.mark.parametrize(
    ("case", "method"), crossed(WINDOWS, ["gradcam", "full_gradients", "eigencam", "guided_gradcam", "scorecam"])
)
def test_a_map_lies_in_what_the_model_crops_out(case, method):
    layer, size, (rows, columns) = WINDOWS[case]
    model, twin = behind(layer, (*size, 3))
    x = images(*size, 3)
    cropped = x[:, rows, columns] / 127.5 - 1 if case == "scaled" else x[:, rows, columns]
    ours = ke.explain(method, model, x, 1, verbose=0)
    if (case == "scaled" and method == "full_gradients") or (case in ("scaled", "slice") and method == "scorecam"):
        pytest.skip("the offset is a bias of its own; masks are scaled from the smallest value, here that outside")
    theirs = ke.explain(method, twin, cropped, 1, verbose=0)
    scale = 1 / 127.5 if case == "scaled" and method == "guided_gradcam" else 1
    inside = np.zeros_like(ours.maps)
    inside[:, rows, columns] = theirs.maps * scale
    # FullGrad's input term and Score-CAM's masks begin at their smallest value, which here is 0, outside.
    close([ours.maps], [inside], 1e-3 if method in ("full_gradients", "scorecam") else 1e-4)
    if method == "gradcam":
        assert ours.about["window"] == ((rows.start, rows.stop), (columns.start, columns.stop))


def test_a_map_is_cut_where_the_model_pads():
    model, twin = behind(L.ZeroPadding2D(((8, 4), (0, 6))), (20, 24, 3))
    x = images(20, 24, 3)
    theirs = ke.gradcam(twin, np.pad(x, ((0, 0), (8, 4), (0, 6), (0, 0))), 1, verbose=0, postprocessing=None)
    ours = ke.gradcam(model, x, 1, verbose=0, postprocessing=None)
    close(ours, (theirs.scores, theirs.maps[:, 8:28, :24]))


@pytest.mark.parametrize("case", ["padded", "resized"])
def test_what_only_looks_like_a_crop_moves_nothing(case):
    stack = {
        "padded": [L.ZeroPadding2D(3), L.Conv2D(6, 7, strides=2)],  # the first convolution takes the padding off again
        "resized": [L.Resizing(16, 16), L.Conv2D(6, 3, padding="same")],
    }[case]
    model = keras_models.randomize(
        keras.Sequential([keras.Input((32, 32, 3)), *stack, L.GlobalAveragePooling2D(), L.Dense(3)])
    )
    explained = ke.gradcam(model, images(32, 32, 3), 1, verbose=0)
    assert "window" not in explained.about


def clips(method, in_time, x):
    """A map of frames that a model sees one by one, and those of each frame by itself."""
    inputs = keras.Input((10, 12, 3))
    conv = L.Conv2D(6, 3, activation="relu", name="conv")(inputs)
    cnn = keras.Model(inputs, L.GlobalAveragePooling2D()(conv), name="cnn")
    clip = keras.Input((4, 10, 12, 3))
    model = keras.Model(clip, L.Dense(3, name="out")(L.Flatten()(in_time(cnn)(clip))))
    keras_models.randomize(model)
    kernel = model.get_layer("out").get_weights()[0].reshape(4, 6, 3)
    a = [ops.convert_to_numpy(keras.Model(inputs, conv)(x[:, t])) for t in range(4)]
    expected = np.stack([a[t] @ kernel[t, :, 1] / 80 for t in range(4)], 1)[..., None]
    return model, expected


class Folded(L.Layer):
    """The frames in the batch, and apart again."""

    def __init__(self, cnn):
        super().__init__(name="folded")
        self.cnn = cnn

    def call(self, x):
        frames = self.cnn(ops.reshape(x, (-1, *x.shape[2:])))
        return ops.reshape(frames, (-1, x.shape[1], frames.shape[-1]))

    def compute_output_shape(self, shape):
        return (*shape[:2], 6)


@pytest.mark.parametrize(
    "in_time", [lambda cnn: L.TimeDistributed(cnn, name="td"), Folded], ids=["distributed", "folded"]
)
def test_frames_that_are_seen_one_by_one_have_maps_of_their_own(in_time):
    x = images(4, 10, 12, 3)
    model, expected = clips("gradcam", in_time, x)
    found = raw("gradcam", model, x, 1)
    close([found.maps], [expected])
    assert found.about["signal"].startswith(("td/cnn/conv", "folded/cnn/conv"))
    path = found.about["signal"].split()[0]
    for layer in (path, path.split("/")[0], {"name": path, "index": 0}):
        close([raw("gradcam", model, x, 1, layer=layer).maps], [expected])
    for method in ("cam", "hirescam", "full_gradients"):
        if method != "cam":
            assert raw(method, model, x, 1).maps.shape[:2] == (2, 4)
    exact = ke.full_gradient_decomposition(model, x, 1)
    assert abs(exact.completeness.relative_gap).max() < 1e-5


@torch_only
@pytest.mark.parametrize("how", ["folded", "turned", "looped"])
def test_frames_of_a_module_have_maps_of_their_own(how):
    import torch
    from torch import nn

    class Video(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.cnn = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
            self.lstm, self.fc = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 3)

        def forward(self, x):
            n, t = x.shape[:2]
            if how == "looped":
                f = torch.stack([self.cnn(x[:, i]).mean((2, 3)) for i in range(t)], 1)
            elif how == "turned":
                f = self.cnn(x.transpose(0, 1).flatten(0, 1)).mean((2, 3)).view(t, n, -1).transpose(0, 1)
            else:
                f = self.cnn(x.flatten(0, 1)).mean((2, 3)).view(n, t, -1)
            return self.fc(self.lstm(f)[0][:, -1])

    module, x = Video().eval(), torch.from_numpy(images(5, 3, 16, 20))
    kept = []
    handle = module.cnn[3].register_forward_hook(lambda m, i, o: kept.append(o))
    score = module(x)[:, 1].sum()
    handle.remove()
    gradients = torch.autograd.grad(score, kept)
    maps = [(a * g.mean((2, 3), keepdim=True)).sum(1).detach() for a, g in zip(kept, gradients, strict=True)]
    maps = torch.stack(maps, 1) if how == "looped" else maps[0].view(*((5, 2) if how == "turned" else (2, 5)), 8, 10)
    maps = maps.transpose(0, 1) if how == "turned" else maps
    found = raw("gradcam", module, x, 1)
    close([found.maps], [maps.numpy()[..., None]])
    assert raw("gradients", module, x, 1).maps.shape == (2, 5, 16, 20, 1)
    full = ke.full_gradients(module, x, 1, verbose=0)
    assert full.maps.shape == (2, 5, 16, 20, 1) and full.about["biases_in_map"].startswith(
        "10 of the 11" if how == "looped" else "2 of the 3"
    )
    parts = ke.full_gradient_decomposition(module, x, 1).bias_gradients
    kept.clear()
    handle = module.cnn[0].register_forward_hook(lambda m, i, o: kept.append(o))
    gradients = torch.autograd.grad(module(x)[:, 1].sum(), kept)
    handle.remove()
    by_hand = sum(float((g.sum((0, 2, 3)) @ module.cnn[0].bias).detach()) for g in gradients)
    assert sum(value.sum() for (path, _), value in parts.items() if path == "cnn.0") == pytest.approx(by_hand, rel=1e-4)


@torch_only
def test_video_of_hugging_face_has_its_channels_behind_its_frames(torchvision):
    transformers = pytest.importorskip("transformers", reason="the peers' requirements are not installed")
    import torch

    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(
        image_size=16, patch_size=8, num_frames=4, tubelet_size=2, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, num_labels=3,
    )  # fmt: skip
    module, x = transformers.VideoMAEForVideoClassification(config).eval(), torch.from_numpy(images(4, 3, 16, 16))
    copy = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module(copy).logits[:, 1].sum(), copy)
    signed = expected.permute(0, 1, 3, 4, 2)[:, None].numpy()  # (N, K, T, H, W, C)
    close([raw("gradients", module, x, 1, reduce=None).maps], [signed])


@torch_only
@pytest.mark.parametrize("method", ["guided_gradcam", "deeplift", "lrp_epsilon", "hirescam"])
def test_methods_of_frames_are_those_of_each_frame_where_the_scores_add_up(method):
    """Without an LSTM: the score is a sum of a number for each frame, so a frame's map is that of the frame alone."""
    Frame, Clip, x = clips_that_add_up()
    same = few(method) if method == "lrp_epsilon" else {}
    ours = ke.explain(method, Clip().eval(), x, 1, verbose=0, **same)
    alone = [ke.explain(method, Frame().eval(), x[:, t], 1, verbose=0, **same) for t in range(4)]
    close([ours.maps], [np.stack([a.maps for a in alone], 1)], 1e-4)
    close([ours.scores], [sum(a.scores for a in alone)])


@torch_only
def test_ablations_of_a_clip_weigh_its_channels_as_a_whole():
    """w_c = (f - f without channel c of every frame) / |f|."""
    import torch

    _, Clip, x = clips_that_add_up()
    clip, frame = Clip().eval(), Clip().frame.eval()
    with torch.no_grad():
        a = torch.stack([frame.cnn(x[:, t]) for t in range(4)], 1)  # (N, T, C, H, W)
        pooled = a.mean((3, 4)).sum(1)
        score = pooled @ frame.fc.weight[1]
        weights = pooled * frame.fc.weight[1] / score.abs()[:, None]
    expected = torch.einsum("ntchw,nc->nthw", a, weights)[..., None].numpy()
    close([raw("ablationcam", clip, x, 1).maps], [expected], 1e-4)


def clips_that_add_up():
    """Classes of a network of one frame and of clips, whose score is the sum of that of its frames, and clips."""
    import torch
    from torch import nn

    class Frame(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.cnn = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
            self.fc = nn.Linear(8, 3, bias=False)

        def forward(self, x):
            return self.fc(self.cnn(x).mean((2, 3)))

    class Clip(nn.Module):
        def __init__(self):
            super().__init__()
            self.frame = Frame()

        def forward(self, x):
            return self.frame(x.flatten(0, 1)).unflatten(0, x.shape[:2]).sum(1)

    return Frame, Clip, torch.from_numpy(images(4, 3, 12, 14))
