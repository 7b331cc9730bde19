"""transformers: the vision models that build from a small configuration."""

from zoo.sources import transformers_classifiers, transformers_encoders, transformers_tasks

MODELS = transformers_classifiers.MODELS | transformers_encoders.MODELS | transformers_tasks.MODELS
NAMES = list(MODELS)


def build(name):
    from zoo.sources.torchvision_models import load

    load()  # transformers reads its transforms
    return MODELS[name]()
