"""Arguments and options of several commands, and what they load and print."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_explainable import errors
from keras_explainable.cli.choices import Backend, Fit
from keras_explainable.cli.explanation_job import Job, Sources, highest
from keras_explainable.gallery import QUICK
from keras_explainable.limits import MAX_PIXELS

NOWHERE = list[Path]()
METHODS_HELP = "A method from `keras-explainable methods`; quick, six of different families; or all. Can be repeated."
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
Method = Annotated[list[str], typer.Option("--method", "--methods", "-m", help=METHODS_HELP)]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        "--methods",
        "-m",
        help=METHODS_HELP,
        show_default="gradcam; gradients for a TorchScript or torch.export file",
    ),
]
Unit = Annotated[
    str, typer.Option(metavar="N|NAME|top-1", help="The unit to explain: its number, its name, or predicted.")
]
Layer = Annotated[
    str | None, typer.Option(metavar="PATH", help="The layer for CAM methods, from `keras-explainable layers`.")
]
Repetitions = Annotated[int | None, typer.Option(min=1, metavar="N", help=REPETITIONS_HELP)]
Labels = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", exists=True, dir_okay=False, help="The names of the model's units: a text file, one in a line."
    ),
]
Npz = Annotated[bool, typer.Option("--npz", help="Also write the maps as numbers: maps.npz.")]
SharedScale = Annotated[
    bool,
    typer.Option(
        "--shared-scale", help="One scale for all maps of an image by a method. Otherwise each is scaled by itself."
    ),
]
OUT = Path("explained")
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


@dataclass(frozen=True)
class Given:
    """The options of commands that explain images: the model, and how images are read."""

    model: Model = None
    labels: Labels = None
    weights: Weights = "imagenet"
    scale: Scale = None
    size: Size = None
    fit: FitTo = None
    max_pixels: MaxPixels = MAX_PIXELS
    unsafe: Unsafe = False
    look_in: LookIn = field(default_factory=list)
    backend: On = None
    debug: Debug = False

    def load(self) -> Any:
        """Load the model, with the names of its units, and print how images are scaled if that is a guess."""
        loaded = with_labels(load_model(self.model, self.weights, self.unsafe, self.scale, self.size), self.labels)
        print_guess(loaded)
        return loaded


def named_methods(names: Sequence[str], layer: str | None) -> list[str]:
    """Return each named method once. A usage error if a method is unknown, or takes no layer and one is given."""
    from keras_explainable import registry

    known = [record.name for record in registry.listed()]
    if "all" in names:
        whole = [name for name in known if layer and not _takes_layer(name)]
        if whole:
            typer.echo(f"Left out: {', '.join(whole)}: they explain the whole model, not one layer.", err=True)
        return [name for name in known if name not in whole]
    names = list(dict.fromkeys(part for name in names for part in (QUICK if name == "quick" else [name])))
    for name in names:
        if name not in known:
            near = registry.nearest(name)
            hint = f". Did you mean {near[0]}?" if near else f": use one of {', '.join(known)}."
            raise typer.BadParameter(f"There is no method {name!r}{hint}", param_hint="--method")
        if layer and not _takes_layer(name):
            raise typer.BadParameter(f"{name} explains the whole model, not one layer.", param_hint="--layer")
    return names


def chosen_methods(names: Sequence[str] | None, model: str | None) -> list[str]:
    """Return the methods that were named, or the default: a file that shows no layers is explained at its input."""
    from keras_explainable import loading

    return list(names) if names else ["gradients" if str(model or "").endswith(loading.TORCH_FILES) else "gradcam"]


def check_one_unit(unit: str, command: str) -> None:
    """Raise a usage error if several units are asked for."""
    if highest(unit) > 1:
        hint = f"use explain --unit {unit} -m METHOD to show several"
        raise typer.BadParameter(
            f"{unit!r} came, and {command} shows one unit of each image: {hint}.", param_hint="--unit"
        )


def with_labels(loaded: Any, file: Path | None) -> Any:
    """Return the loaded model with the names of its units from a file. A usage error if their number is wrong."""
    if file is None:
        return loaded
    import numpy as np

    from keras_explainable import loading

    names = file.read_text(encoding="utf-8-sig").splitlines()
    blank = loaded.preprocess(np.zeros((1, *loaded.size, 3), "uint8"))
    units = loading.unit_scores(loaded, blank).shape[-1]
    if len(names) != units:
        raise typer.BadParameter(
            f"{errors.printable(file)} has {len(names)} lines, and the model has {units} units: one line for each was "
            "expected.",
            param_hint="--labels",
        )
    return loaded._replace(class_names=names)


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
    return loading.load(model, None if weights == "none" else weights, not unsafe, scale, sides(size))


def sides(size: str | None) -> tuple[int, int] | None:
    """Return the height and width that --size names. A usage error if it names none."""
    if not size:
        return None
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})?", size):
        raise typer.BadParameter(
            f"{size!r} came, and a number, or HxW such as 240x320, was expected.", param_hint="--size"
        )
    found = [int(side) for side in size.split("x")]
    return found[0], found[-1]


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
