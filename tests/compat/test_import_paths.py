"""Every path by which users of the predecessors, and of our own pages, reach a name of this library."""

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import keras
import pytest

import keras_explainable as ke
from keras_explainable import registry

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "start").glob("*.md"))]
DOTTED = re.compile(r"(?<![\w./])ke((?:\.[A-Za-z_]\w*)+)")
IMPORT = re.compile(r"^(?:from|import) ((?:saliency|keras_explainable)[\w.]*)(?: import (\w+))?", re.MULTILINE)

# Where a folder shows a function with the name of a file in it, users get the function. The folder of `propagation`
# shows its files, whose methods have their own names.
METHODS = {
    "cams": "cam gradcam gradcampp hirescam xgradcam layercam finercam eigencam eigengradcam guided_gradcam scorecam "
    "ablationcam smooth_gradcampp",
    "gradient": "gradients input_x_gradient smoothgrad vargrad squaregrad integrated_gradients expected_gradients "
    "gradient_shap blur_ig guided_ig xrai guided_backprop deconvnet full_gradients simple_full_gradients",
    "fullgrad": "full_gradients simple_full_gradients smooth_full_gradients",
    "perturbation": "occlusion rise lime kernel_shap sobol hsic",
    "attention": "attention_rollout gradient_attention_rollout attention_relevance",
    "propagation.lrp": "lrp_epsilon lrp_epsilon_plus lrp_epsilon_plus_flat lrp_epsilon_gamma_box lrp_epsilon_alpha2_beta1",
    "propagation.attnlrp": "attnlrp",
    "propagation.deeplift": "deeplift deep_shap",
    "propagation.excitation": "excitation_backprop",
}
FUNCTIONS = {
    "": "explain partial_explain get full_gradient_decomposition integrated_gradients_gap cache_info clear_cache",
    "methods.meta": "smooth tta integrate ensemble contrast",
    "methods.propagation.lrp": "lrp",
    "methods.propagation.rules": "epsilon alpha_beta gamma z_plus w_square flat z_box excitation",
    "methods.propagation.composites": "Composite epsilon_everywhere epsilon_plus epsilon_plus_flat epsilon_gamma_box "
    "epsilon_alpha2_beta1",
    "inspection": "expose endpoints signals get_nested_layer get_logits_layer get_global_pooling_layer find_layer_with "
    "layers_with_biases biases gather_units",
    "filters": "normalize positive negative absolute positive_normalize negative_normalize absolute_normalize",
    "scores": "unit top_k margin negated binary region value similarity output box detection instance depth",
    "utils": "visualize",
    "demo": "load_model load_module load_transformer load_scenes load_counterfactuals load_mask_robust",
}
MODULES = "demo errors filters inspection methods registry scores utils methods.cams methods.gradient methods.fullgrad "
MODULES += "methods.perturbation methods.attention methods.meta methods.propagation methods.propagation.lrp "
MODULES += "methods.propagation.rules methods.propagation.composites"
SALIENCY = {
    "fullGrad": "FullGrad",
    "fullgrad": "FullGrad",
    "simple_fullgrad": "SimpleFullGrad",
    "smooth_fullgrad": "SmoothFullGrad",
    "gradcam": "GradCAM",
    "grad": "InputGradient",
    "smoothgrad": "SmoothGrad",
    "tensor_extractor": "FullGradExtractor",
}


def resolve(path):
    """What `ke.path` is."""
    found = ke
    for name in filter(None, path.split(".")):
        found = getattr(found, name)
    return found


def paths(table):
    return [(owner, name) for owner, names in table.items() for name in names.split()]


@pytest.mark.parametrize(("family", "name"), paths(METHODS))
def test_a_method_by_its_family(family, name):
    method = resolve(f"methods.{family}.{name}")
    assert inspect.isfunction(method) and method.__name__ == name
    assert method is registry.METHODS[name].function is ke.get(name)
    assert list(inspect.signature(method).parameters)[:3] == ["model", "inputs", "indices"]
    shortcut = getattr(ke, name)
    assert shortcut.__name__ == name and list(inspect.signature(shortcut).parameters)[:3] == ["model", "x", "y"]
    # Its file can be imported as well, and does not take the function's place.
    assert getattr(importlib.import_module(method.__module__), name) is method
    assert resolve(f"methods.{family}.{name}") is method


def test_every_method_is_shown_by_its_family():
    """Also those that are newer than the table."""
    for name, record in registry.METHODS.items():
        home = record.function.__module__.removeprefix("keras_explainable.")
        family = ".".join(home.split(".")[:2])
        assert resolve(f"{home if family.endswith('propagation') else family}.{name}") is record.function


@pytest.mark.parametrize(("owner", "name"), paths(FUNCTIONS))
def test_a_function_by_its_module(owner, name):
    found = resolve(f"{owner}.{name}")
    assert callable(found) and not isinstance(found, ModuleType)
    assert found.__name__ == name and found.__module__.startswith("keras_explainable")
    assert getattr(importlib.import_module(f"keras_explainable.{owner}".strip(".")), name) is found


@pytest.mark.parametrize("path", MODULES.split())
def test_a_module_by_its_path(path):
    found = resolve(path)
    assert isinstance(found, ModuleType) and found.__name__ == f"keras_explainable.{path}"
    assert importlib.import_module(f"keras_explainable.{path}") is found


def test_constants_and_classes():
    assert ke.inspection.KERNEL_AXIS == -1
    assert ke.inspection.SPATIAL_AXIS == ke.filters.SPATIAL_AXIS == (-3, -2)
    assert keras.layers.GlobalAveragePooling2D in ke.inspection.POOLING_LAYERS
    assert inspect.isclass(ke.BlackBox) and inspect.isclass(ke.Explanation)
    assert ke.methods.list() == registry.listed()


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the package saliency is on PyTorch")
@pytest.mark.parametrize(("file", "name"), SALIENCY.items())
def test_classes_of_fullgrad_saliency(file, name):
    found = getattr(importlib.import_module(f"saliency.{file}"), name)
    assert inspect.isclass(found) and found.__name__ == name
    assert callable(found.getBiases if name == "FullGradExtractor" else found.saliency)


def mentioned(page):
    """The dotted names that a page has."""
    return {name.lstrip(".") for name in DOTTED.findall(page.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_on_our_pages_are_there(page):
    for path in sorted(mentioned(page)):
        found = resolve(path)
        assert isinstance(found, ModuleType) or callable(found), path
        assert found.__name__.rpartition(".")[2] == path.rpartition(".")[2], path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_imports_on_our_pages_work(page):
    for module, name in IMPORT.findall(page.read_text(encoding="utf-8")):
        if module.startswith("keras_explainable") or keras.backend.backend() == "torch":
            found = importlib.import_module(module)
            assert not name or getattr(found, name).__name__ == name


def test_our_pages_name_what_they_are_about():
    names = set.union(*map(mentioned, PAGES))
    assert {"methods.cams.gradcam", "methods.meta.smooth", "utils.visualize", "scores.margin"} <= names
    ours = {name for _, name in paths(METHODS)}
    assert ours <= names
    assert IMPORT.findall((ROOT / "README.md").read_text(encoding="utf-8"))
