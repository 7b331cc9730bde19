"""FullGrad (Srinivas & Fleuret, arXiv:1905.00780): `FullGrad(model).saliency(image)`."""

import torch

from saliency._explainer import IMAGE, Explainer, Target, compat, in_layout, ke, like

COMPLETE = 1e-4  # the relative gap up to which a decomposition counts as complete
Report = compat.Completeness


class FullGrad(Explainer):
    """The contributions of the input and of every bias to a score. `im_size` is the (C, H, W) of the images."""

    def __init__(self, model: torch.nn.Module, im_size: tuple[int, int, int] = IMAGE) -> None:
        super().__init__(model)
        self.im_size = (1, *im_size)

    def saliency(self, image: torch.Tensor, target_class: Target = None) -> torch.Tensor:
        """Return the maps (N, 1, H, W) of images (N, C, H, W), defined by `ke.methods.fullgrad.full_gradients`.

        The maps of signals (N, C, T) are (N, 1, T). `target_class` is an int, (N,), (N, 1), or None for each image's
        highest score.
        """
        return self._map(ke.methods.fullgrad.full_gradients, image, target_class)

    def fullGradientDecompose(
        self, image: torch.Tensor, target_class: Target = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the input gradient (N, C, H, W), and bias x gradient for every call of a layer with a bias.

        score = sum(input_gradient * image) + sum of all bias_gradients, for networks of linear layers and ReLUs.
        """
        units = self._units(image, target_class)
        _, gradient, parts, _ = compat.decomposition(self.model, image.detach(), units)
        view = compat.view(self.model, image.detach())
        points = [compat.INPUT, *view.biased()]
        terms = zip(points, [gradient, *parts], strict=True)
        gradient, *parts = (like(image, in_layout(view, point, values)) for point, values in terms)
        return gradient, parts

    def checkCompleteness(self, image: torch.Tensor | None = None, target_class: Target = None) -> Report:
        """Print whether the decomposition adds up to the score, and return the numbers for each image, (N, 1).

        Without an image, a random one of size `im_size` is used. If the decomposition does not add up, the layers that
        cause the gap are named by their implicit biases. See `ke.full_gradient_decomposition`.
        """
        image = compat.normal(self.im_size, seed=0) if image is None else image
        units = self._units(image, target_class)
        report = ke.full_gradient_decomposition(self.model, image.detach(), units).completeness
        causes = None
        if report.relative_gap.max() > COMPLETE:
            measured = ke.full_gradient_decomposition(self.model, image.detach(), units, implicit=True)
            causes = measured.completeness.unexplained
        print(verdict(report, causes))
        return report


def verdict(report: Report, causes: dict | None = None) -> str:
    """Describe the image with the largest gap in a completeness report, and its largest causes.

    `causes` maps each call to what its biases leave unexplained."""
    worst = report.relative_gap.argmax()
    score, total, gap = (float(v.flat[worst]) for v in (report.scores, report.total, report.relative_gap))
    parts = f"the input and {len(report.contributions) - 1} biases add up to {total:.6g}"
    numbers = f"{parts}, and the score is {score:.6g} (relative gap {gap:.1e})."
    if gap <= COMPLETE:
        return f"FullGrad is complete here: {numbers}"
    return (
        f"FullGrad is not complete here: {numbers} The rest comes from layers that are neither linear nor ReLUs, "
        "and no bias accounts for it" + (f": {largest(causes, worst)}." if causes else ".")
    )


def largest(causes: dict, worst: int, most: int = 5) -> str:
    """Name the largest causes of a gap, each with its part of the score."""
    shares = sorted(((float(v.flat[worst]), key) for key, v in causes.items()), key=lambda pair: -abs(pair[0]))
    named = [
        f"{'operations outside of layers' if key == 'operations' else compat.Point(*key)} {value:+.3g}"
        for value, key in shares[:most]
        if abs(value) > COMPLETE * abs(shares[0][0])
    ]
    return ", ".join(named) + (f", and {len(shares) - most} smaller ones" if len(shares) > most else "")
