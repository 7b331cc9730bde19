"""Arguments and options of several commands, and what they load and print."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_explainable.cli.choices import Backend, Fit
from keras_explainable.cli.explanation_job import Job, Sources

NOWHERE = list[Path]()
METHODS_HELP = "A method from `keras-explainable methods`, or all. Can be repeated."
MODEL_HELP = (
    "demo, a keras.applications name (ImageNet weights), a .keras or .h5 file, or package.module:factory, a function "
    "that is imported and called (see --path). With --unsafe on torch, also a TorchScript file (.pt, .pth) or a "
    "torch.export archive (.pt2)."
)
PATH_HELP = (
    "Also search this folder for the module of package.module:factory, after the installed packages. The current "
    "folder is searched only if it is named: --path ."
)
SCALE_HELP = (
    "The pixel values that the model takes: raw (0..255), unit (0..1), tf (-1..1), torch (normalized by ImageNet's "
    "mean and standard deviation: the guess for PyTorch modules), caffe."
)
FIT_HELP = (
    "How to bring an image of another shape to the model's size: stretch it, crop it to its middle, or pad it with "
    "grey. Maps are drawn over what the model saw."
)
OTHERS = "--model names another, such as ResNet50V2."
REPETITIONS_HELP = (
    "The largest number of repetitions of a method, or of channels of scorecam. With fewer than 200, methods that hide "
    "parts of the image show noise. Methods without repetitions, such as occlusion and ablationcam, take their full "
    "time."
)

# Arguments and options of several commands.
Images = Annotated[
    list[Path],
    typer.Argument(metavar="IMAGE", help="Image files of any size. --fit sets how they get the model's size."),
]
Method = Annotated[list[str], typer.Option("--method", "-m", help=METHODS_HELP)]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for the pictures.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace existing files. Without it, the command stops if a file exists.")
]
MaxPixels = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Leave out images with more pixels. More than 178 million pixels are never read."
    ),
]
Model = Annotated[str | None, typer.Option("--model", help=MODEL_HELP, show_default="demo")]
Size = Annotated[
    str | None,
    typer.Option(metavar="HxW", help="Image size, such as 32 or 240x320, for a model that takes any size."),
]
Scale = Annotated[str | None, typer.Option(help=SCALE_HELP)]
FitTo = Annotated[
    Fit | None,
    typer.Option("--fit", help=FIT_HELP, show_default="crop for ImageNet weights of keras.applications, else stretch"),
]
Weights = Annotated[str, typer.Option(help="imagenet or none (random), for a model of keras.applications.")]
Unsafe = Annotated[
    bool,
    typer.Option(
        "--unsafe", help="Let a model file run its own code. Use it only for files that you trust like a program."
    ),
]


def _look_in(folders: list[Path]) -> list[Path]:
    sys.path.extend(str(folder.resolve()) for folder in folders)
    return folders


LookIn = Annotated[
    list[Path],
    typer.Option("--path", metavar="DIR", help=PATH_HELP, exists=True, file_okay=False, callback=_look_in),
]
On = Annotated[Backend | None, typer.Option(help="Run on this framework.", show_default=False)]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and the backend's log.")]


def named_methods(names: Sequence[str], layer: str | None) -> list[str]:
    """Return each named method once. A usage error if a method is unknown, or takes no layer and one is given."""
    from keras_explainable import registry

    known = [record.name for record in registry.listed()]
    if "all" in names:
        whole = [name for name in known if layer and not _takes_layer(name)]
        if whole:
            typer.echo(f"Left out: {', '.join(whole)}: they explain the whole model, not one layer.", err=True)
        return [name for name in known if name not in whole]
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in known:
            near = registry.nearest(name)
            hint = f". Did you mean {near[0]}?" if near else f": use one of {', '.join(known)}."
            raise typer.BadParameter(f"There is no method {name!r}{hint}", param_hint="--method")
        if layer and not _takes_layer(name):
            raise typer.BadParameter(f"{name} explains the whole model, not one layer.", param_hint="--layer")
    return names


def _takes_layer(name: str) -> bool:
    from keras_explainable import registry

    return registry.takes(registry.get(name), "layer")


def load_model(model: str | None, weights: str, unsafe: bool, scale: str | None = None, size: str | None = None) -> Any:
    """Load the model that the options name."""
    from keras_explainable import loading

    if weights not in ("imagenet", "none"):
        raise typer.BadParameter(f"{weights!r} came, and imagenet or none was expected.", param_hint="--weights")
    if scale not in (None, *loading.SCALES):
        raise typer.BadParameter(
            f"{scale!r} came, and one of {', '.join(loading.SCALES)} was expected.", param_hint="--scale"
        )
    if size and not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})?", size):
        raise typer.BadParameter(
            f"{size!r} came, and a number, or HxW such as 240x320, was expected.", param_hint="--size"
        )
    sides = [int(side) for side in size.split("x")] if size else []
    return loading.load(
        model, None if weights == "none" else weights, not unsafe, scale, (sides[0], sides[-1]) if sides else None
    )


def print_embedded(model: str | None) -> None:
    """Print that the embedded network is used, if no model was named."""
    if model is None:
        print(f"No --model: using the embedded network, which knows only painted shapes. {OTHERS}", file=sys.stderr)


def print_fits(job: Job) -> None:
    """Print how images were brought to the model's size."""
    from keras_explainable import viz

    for line in viz.framing.lines(job.fits):
        print(line, file=sys.stderr)


def print_left_out(sources: Sources) -> None:
    """Print which images were left out and why, and exit with 1 if there are any."""
    from keras_explainable import viz

    for line in viz.tables.left_out(sources.left_out):
        typer.echo(line, err=True)
    if sources.left_out:
        raise typer.Exit(1)


def print_guess(loaded: Any) -> None:
    """Print how images are scaled, if that is a guess."""
    if loaded.preprocess.guessed:
        print(f"Images are scaled by {loaded.preprocess.name!r}, a guess. Set --scale if it is wrong.", file=sys.stderr)
