"""Shared by all transformers models: sizes of small configurations, and how to make a subject from a model."""

WIDE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
VISION = WIDE | {"image_size": 64, "patch_size": 16}
TEXT = WIDE | {"num_hidden_layers": 2, "vocab_size": 99, "max_position_embeddings": 16}
STAGES = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}
ALL_STAGES = ["stage1", "stage2", "stage3", "stage4"]
RESNET = STAGES | {"embedding_size": 16, "layer_type": "basic"}
SWIN = {"image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
CLASSES, CHOSEN, WIDTH = 5, 2, 3


def config(name, **given):
    """Return a configuration of transformers. Inner configurations are pairs (name, arguments)."""
    import transformers

    inner = {key: config(value[0], **value[1]) if isinstance(value, tuple) else value for key, value in given.items()}
    return getattr(transformers, name)(**inner)


def model(name, configuration):
    import torch
    import transformers

    torch.manual_seed(0)
    return getattr(transformers, name)(configuration)


def subject(module, x, y=None, score=None, own=None, leaf=None, note="", **more):
    """Return a transformers module with random weights, and images or inputs by name."""
    from zoo import weights
    from zoo.modules import Module

    count = sum(parameter.numel() for parameter in module.parameters())
    made = Module(module, x, y, score, leaf, own=own, note=note, weights=count, **more)
    weights.prepare(module, made.images, made.call)
    return made


def images(size):
    from zoo import weights

    return weights.images(size)


def classifier(name, configuration, size=64, attention=None, **given):
    """Explain the logits of ten classes."""

    def make():
        import numpy as np

        chosen = config(configuration, **given)
        chosen.num_labels = 10
        if attention:
            chosen._attn_implementation = attention
        return subject(model(name, chosen), images(size), np.array([1, 7]))

    return make


def picked(name, configuration, size, pick, **given):
    """Explain the (N,) scores that `pick` computes from the outputs, for the library and for the second computation."""

    def make():
        module = model(name, config(configuration, **given))
        return subject(module, images(size), score=lambda outputs: pick(outputs)[:, None], own=pick)

    return make


def pooled(name, configuration, size=64, **given):
    """Explain one channel of the encoder's pooled output."""
    return picked(name, configuration, size, lambda outputs: outputs.pooler_output[:, WIDTH], **given)


def averaged(name, configuration, size=64, **given):
    """Explain the mean of one channel of the last tokens (N, T, C) or of a map (N, C, H, W)."""

    def pick(outputs):
        last = outputs.last_hidden_state
        return last.mean(1)[:, WIDTH] if last.ndim == 3 else last.mean((2, 3))[:, WIDTH]

    return picked(name, configuration, size, pick, **given)


def segmenter(name, configuration, size, **given):
    """Explain a class over a quarter of the image."""

    def make():
        import numpy as np
        import torch

        import keras_explainable as ke

        module, x = model(name, config(configuration, **given, num_labels=CLASSES)), images(size)
        with torch.no_grad():
            shape = module.eval()(torch.as_tensor(x)).logits.shape[2:]
        mask = np.zeros(shape, "float32")
        mask[: max(1, shape[0] // 2), : max(1, shape[1] // 2)] = 1
        weight = torch.as_tensor(mask / mask.sum())
        return subject(
            module,
            x,
            score=ke.scores.region(mask, CHOSEN, axis=1),
            own=lambda outputs: (outputs.logits[:, CHOSEN] * weight).sum((1, 2)),
        )

    return make


def detector(name, configuration, size, activation="softmax", **given):
    """Explain a box in the middle: the confidence of its best query, times their overlap."""

    def make():
        import torch

        import keras_explainable as ke

        middle = [0.5, 0.5, 0.6, 0.6]
        corners = torch.tensor([0.2, 0.2, 0.8, 0.8])

        def own(outputs):
            logits, boxes = outputs.logits, outputs.pred_boxes
            sure = (logits.softmax(-1) if activation == "softmax" else logits.sigmoid())[..., 1]
            low = torch.maximum(boxes[..., :2] - boxes[..., 2:] / 2, corners[:2])
            high = torch.minimum(boxes[..., :2] + boxes[..., 2:] / 2, corners[2:])
            both = (high - low).clamp(min=0).prod(-1)
            return (both / (boxes[..., 2:].prod(-1) + 0.36 - both) * sure).max(-1).values

        names = {"boxes": "pred_boxes", "scores": "logits", "layout": "cxcywh", "activation": activation}
        score = ke.scores.box(middle, 1, **names)
        return subject(model(name, config(configuration, **given)), images(size), score=score, own=own)

    return make


def depth(name, configuration, size, **given):
    """Explain the mean depth. No depth may be clipped at 0."""

    def make():
        import torch

        module = model(name, config(configuration, **given))
        made = subject(
            module,
            images(size),
            score=lambda outputs: outputs.predicted_depth.mean((1, 2))[:, None],
            own=lambda outputs: outputs.predicted_depth.mean((1, 2)),
        )
        last = [part for part in module.modules() if isinstance(part, torch.nn.Conv2d)][-1]
        with torch.no_grad():
            last.bias.fill_(1.0)
        return made

    return make


def query(outputs):
    """Score the most confident query for one class."""
    return outputs.class_queries_logits[..., 1].amax(-1)
