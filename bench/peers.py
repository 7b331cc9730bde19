"""Other libraries for the same method, model and images.

`peers(kind, method, model, x, y)` returns {name: function, or the reason why there is none}. `make bench-peers`
installs the libraries."""

import copy
import importlib.util

import numpy as np

from bench.reference_maps import full_gradient_terms, not_in_place, scaled

LARGEST = ("xplique", "tf_keras_vis")  # they take the largest channel of a gradient, and resize Grad-CAM
REFERENCE = "fullgrad_saliency"  # not on PyPI: its steps are written here, in their order

# (kind of model, method) -> the peers that have the method
HAVE = {
    ("native", "gradcam"): ("captum", "pytorch_grad_cam"),
    ("native", "gradcampp"): ("pytorch_grad_cam",),
    ("native", "gradients"): ("captum",),
    ("native", "smoothgrad"): ("captum",),
    ("native", "full_gradients"): ("pytorch_grad_cam", REFERENCE),
    ("tensorflow", "gradcam"): ("tf_keras_vis", "xplique"),
    ("tensorflow", "gradcampp"): ("tf_keras_vis", "xplique"),
    ("tensorflow", "gradients"): ("tf_keras_vis", "xplique"),
    ("tensorflow", "smoothgrad"): ("tf_keras_vis", "xplique"),
}


def peers(kind, method, model, x, y, layer, repetitions):
    """Return the peers for this kind of model and this method."""
    found = {}
    for name in HAVE.get((kind, method), ()):
        if name != REFERENCE and importlib.util.find_spec(name) is None:
            found[name] = "not installed"
            continue
        try:
            found[name] = globals()[f"_{name}"](method, model, x, y, layer, repetitions)
        except Exception as error:  # reported in the row
            found[name] = f"{type(error).__name__}: {str(error)[:80]}"
    return found


def _captum(method, module, x, y, layer, repetitions):
    import torch
    from captum import attr

    x, y = torch.as_tensor(x), torch.as_tensor(y[:, 0], dtype=torch.int64)
    if method == "gradcam":
        explainer = attr.LayerGradCam(module, module.get_submodule(layer))
        return lambda: explainer.attribute(x, y, relu_attributions=False).detach().numpy()[:, 0]
    saliency = attr.Saliency(module)
    if method == "gradients":
        return lambda: saliency.attribute(x.clone(), y).numpy().mean(1)
    tunnel, spread = attr.NoiseTunnel(saliency), float(x.max() - x.min())
    return lambda: tunnel.attribute(
        x.clone(), nt_samples=repetitions, nt_samples_batch_size=1, stdevs=0.15 * spread, target=y, abs=False
    ).numpy()


def _pytorch_grad_cam(method, module, x, y, layer, repetitions):
    import pytorch_grad_cam as library
    import torch
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = copy.deepcopy(module).requires_grad_()  # it sees no gradients unless a weight requires one
    kind = {"gradcam": "GradCAM", "gradcampp": "GradCAMPlusPlus", "full_gradients": "FullGrad"}[method]
    explainer = getattr(library, kind)(model=module, target_layers=[module.get_submodule(layer)])
    x, targets = torch.as_tensor(x), [ClassifierOutputTarget(int(unit)) for unit in y[:, 0]]
    return lambda: explainer(input_tensor=x, targets=targets)


def _fullgrad_saliency(method, module, x, y, layer, repetitions):
    """Follow the authors' steps: resize each term with all of its channels, then sum over channels."""
    from torch.nn import functional

    module = not_in_place(module).requires_grad_()

    def run():
        first, *terms = full_gradient_terms(module, x, y)
        total = scaled(first).sum(1)
        for term in terms:
            large = functional.interpolate(scaled(term), size=first.shape[2:], mode="bilinear", align_corners=True)
            total += large.sum(1)
        return total.numpy()

    return run


def _tf_keras_vis(method, model, x, y, layer, repetitions):
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.utils.scores import CategoricalScore

    score = CategoricalScore([int(unit) for unit in y[:, 0]])
    if method in ("gradcam", "gradcampp"):
        explainer = {"gradcam": Gradcam, "gradcampp": GradcamPlusPlus}[method](model, clone=False)
        return lambda: explainer(score, x, penultimate_layer=layer)
    noise = {"smooth_samples": repetitions, "smooth_noise": 0.15} if method == "smoothgrad" else {}
    return lambda: Saliency(model, clone=False)(score, x, **noise)


def _xplique(method, model, x, y, layer, repetitions):
    from xplique import attributions

    names = {"gradcam": "GradCAM", "gradcampp": "GradCAMPP", "gradients": "Saliency", "smoothgrad": "SmoothGrad"}
    params = {
        "gradcam": {"conv_layer": layer},
        "gradcampp": {"conv_layer": layer},
        "smoothgrad": {"nb_samples": repetitions},
    }
    explainer = getattr(attributions, names[method])(model, batch_size=len(x), **params.get(method, {}))
    labels = np.eye(1000, dtype="float32")[y[:, 0]]
    return lambda: np.asarray(explainer(x, labels))


def agreement(method, name, ours, theirs):
    """Return the lowest correlation of two stacks of maps, or None if their sizes or definitions differ."""
    theirs = np.asarray(theirs)
    same = name == REFERENCE or (name not in LARGEST and method in ("gradcam", "gradients"))
    if not same or ours.shape[:1] != theirs.shape[:1]:
        return None
    theirs = theirs.reshape(len(theirs), *theirs.shape[1:3])
    if ours.shape != theirs.shape:
        return None
    pairs = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(ours, theirs, strict=True) if a.std() and b.std()]
    return float(min(pairs)) if pairs else None
