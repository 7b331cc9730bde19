"""The commands, with their arguments and options."""

import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from keras_explainable import viz
from keras_explainable.cli.choices import NAME, Backend, Fit
from keras_explainable.cli.explanation_job import COMPARED, REPORT, Job, Sources, ending, highest, method_list, table
from keras_explainable.cli.failures import friendly

HELP = (
    "Explain what an image model looked at. Start with `keras-explainable demo` or `keras-explainable explain IMAGE`."
)
GRADCAM, ALL, NOWHERE = ["gradcam"], ["all"], list[Path]()
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
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

cli = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        import keras_explainable

        typer.echo(f"{NAME} {keras_explainable.__version__}")
        raise typer.Exit


@cli.callback()
def _version(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@cli.command()
@friendly
def explain(
    images: Images,
    model: Model = None,
    method: Method = GRADCAM,
    unit: Annotated[
        str,
        typer.Option(metavar="N|top-K", help="The unit to explain: its number, its name, predicted, or the K highest."),
    ] = "top-1",
    layer: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The layer for CAM methods, from `keras-explainable layers`."),
    ] = None,
    out: Out = Path("explained"),
    overwrite: Overwrite = False,
    max_pixels: MaxPixels = viz.image_files.MAX_PIXELS,
    report: Annotated[
        bool, typer.Option("--report", help="Also write report.html, with all maps side by side.")
    ] = False,
    weights: Weights = "imagenet",
    scale: Scale = None,
    size: Size = None,
    fit: FitTo = None,
    unsafe: Unsafe = False,
    look_in: LookIn = NOWHERE,
    backend: On = None,
    debug: Debug = False,
) -> None:
    """Explain images. Save one picture for each image and method: the image beside its maps."""
    methods = _methods(method, layer)
    sources = Sources(images, [ending(name) for name in methods], max_pixels)
    place = viz.output.Out(out, overwrite)
    place.check([*sources.files, *[REPORT] * report])
    loaded = _load(model, weights, unsafe, scale, size)
    _print_guess(loaded)
    job = Job(loaded, sources, unit, {"layer": layer} if layer else {}, fit=fit)
    _print_fits(job)
    results = _run_those_that_fit(job, methods) if "all" in method else {name: job.run(name) for name in methods}
    made = job.save(results, place)
    _print_embedded(model)
    typer.echo(made)
    if report:
        typer.echo(viz.tables.printable(f"Report: {job.report(results, place)}"))
    _print_left_out(sources)


@cli.command()
@friendly
def compare(
    images: Images,
    model: Model = None,
    methods: Annotated[list[str], typer.Option("--methods", "--method", "-m", help=METHODS_HELP)] = ALL,
    unit: Annotated[str, typer.Option(metavar="N|top-1", help="The unit to explain: its number or name.")] = "top-1",
    repetitions: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help=REPETITIONS_HELP),
    ] = None,
    out: Out = Path("compared"),
    overwrite: Overwrite = False,
    max_pixels: MaxPixels = viz.image_files.MAX_PIXELS,
    weights: Weights = "imagenet",
    scale: Scale = None,
    size: Size = None,
    fit: FitTo = None,
    unsafe: Unsafe = False,
    look_in: LookIn = NOWHERE,
    backend: On = None,
    debug: Debug = False,
) -> None:
    """Compare the maps of many methods in one picture for each image, with times and peaks.

    After Ctrl-C, the picture shows the methods that are finished."""
    if highest(unit) > 1:
        hint = f"Use explain --unit {unit} -m METHOD to show several."
        raise typer.BadParameter(f"compare shows one unit of each image. Got {unit!r}. {hint}", param_hint="--unit")
    names = _methods(methods, None)
    sources = Sources(images, [ending(COMPARED)], max_pixels)
    place = viz.output.Out(out, overwrite)
    place.check(sources.files)
    loaded = _load(model, weights, unsafe, scale, size)
    _print_guess(loaded)
    job = Job(loaded, sources, unit, {}, repetitions, fit)
    _print_fits(job)
    made = job.compare(_run_those_that_fit(job, names), place)
    _print_embedded(model)
    for path in made:
        typer.echo(viz.tables.printable(path))
    _print_left_out(sources)


@cli.command()
@friendly
def dump(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A folder of images. Default: the sample scenes."),
    ] = None,
    model: Model = None,
    method: Method = ALL,
    out: Out = Path("results"),
    overwrite: Overwrite = False,
    max_pixels: MaxPixels = viz.image_files.MAX_PIXELS,
    weights: Weights = "imagenet",
    scale: Scale = None,
    size: Size = None,
    fit: FitTo = None,
    unsafe: Unsafe = False,
    look_in: LookIn = NOWHERE,
    backend: On = None,
    debug: Debug = False,
) -> None:
    """Draw maps over all images in a folder: one picture of the image's size for each image and method."""
    from keras_explainable.gallery import image_folder as dumping

    methods, loaded = _methods(method, None), _load(model, weights, unsafe, scale, size)
    _print_guess(loaded)
    made = dumping.make(loaded, folder, out, methods, sys.stdout.isatty(), fit, overwrite, max_pixels)
    if folder:  # the sample scenes are what the embedded network knows
        _print_embedded(model)
    typer.echo(str(made))
    raise typer.Exit(0 if made.pictures and made.left_out.keys() <= set(methods) else 1)


@cli.command()
@friendly
def methods(debug: Debug = False) -> None:
    """List the methods by family: what each needs, what it costs in passes of the model, and what it shows."""
    import keras_explainable as ke

    typer.echo(method_list(ke.methods.list()))


@cli.command()
@friendly
def layers(
    named: Annotated[str | None, typer.Argument(metavar="MODEL", help="The same as --model.")] = None,
    model: Model = None,
    all: Annotated[bool, typer.Option("--all", help="Also list layers without places in the image.")] = False,
    weights: Weights = "imagenet",
    size: Size = None,
    unsafe: Unsafe = False,
    look_in: LookIn = NOWHERE,
    backend: On = None,
    debug: Debug = False,
) -> None:
    """List the layers that can be explained (--layer) with their shapes, in the order in which they run.

    "places" is how a layer's signal is read as places of the image. "evidence" is how well it shows them (0.5 is
    chance, 1 is perfect). "score" is whether the score depends on them."""
    from keras_explainable import inspection

    if named and model and named != model:
        raise typer.BadParameter(f"MODEL and --model are the same. Got {named!r} and {model!r}.", param_hint="--model")
    loaded = _load(model or named, weights, unsafe, size=size)
    _print_embedded(model or named)
    blank = loaded.preprocess(np.zeros((1, *loaded.size, 3), "uint8"))
    found = inspection.signals(loaded.model, blank)
    signals = [s for s in found if all or s.reading or len(s.shape) == 4]
    rows = [[s.path, s.call, s.kind, " x ".join(map(str, s.shape[1:])), *_measured(s)] for s in signals]
    hidden = "This model shows none of its layers (TorchScript and exported programs do not). Explain its input."
    if found:
        hidden = "No layer of this model has a place in the image (--all lists them). Explain its input."
    typer.echo(table(["layer", "call", "kind", "shape", "places", "evidence", "score"], rows) if rows else hidden)


def _measured(signal: Any) -> list[str]:
    """Return the cells of a signal's reading, evidence, and whether it reaches the score."""
    evidence = "" if signal.evidence is None else f"{signal.evidence:.2f}"
    reaches = {None: "", True: "yes", False: "no"}[signal.reaches]
    return [str(signal.reading or ""), evidence, reaches]


@cli.command()
@friendly
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for the report and the pictures.")
    ] = Path("demo"),
    model: Model = None,
    images: Annotated[int, typer.Option(min=1, help="The number of scenes to show.")] = 6,
    look_in: LookIn = NOWHERE,
    overwrite: Overwrite = False,
    backend: On = None,
    debug: Debug = False,
) -> None:
    """Explain the sample scenes by every method, and report how often the maps point at the object.

    To save time, methods use fewer repetitions than by default: their numbers differ from docs/methods.md."""
    words = ["--out", str(out), "--images", str(images), *(["--model", model] if model else []), *["--debug"] * debug]
    words += ["--overwrite"] * overwrite
    raise typer.Exit(runpy.run_module("keras_explainable.gallery")["main"](words))  # a separate program


def _methods(names: Sequence[str], layer: str | None) -> list[str]:
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
            hint = f"Did you mean {near[0]}?" if near else f"Expected one of: {', '.join(known)}."
            raise typer.BadParameter(f"There is no method {name!r}. {hint}", param_hint="--method")
        if layer and not _takes_layer(name):
            raise typer.BadParameter(f"{name} explains the whole model, not one layer.", param_hint="--layer")
    return names


def _takes_layer(name: str) -> bool:
    from keras_explainable import registry

    return registry.takes(registry.get(name), "layer")


def _run_those_that_fit(job: Job, names: Sequence[str]) -> dict[str, Any]:
    """Run all methods that fit the model, and report those that do not. After Ctrl-C, return the finished ones."""
    from keras_explainable.errors import LayerError
    from keras_explainable.gallery import image_folder as dumping

    results: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    try:
        for i, name in enumerate(names, 1):
            with dumping.leaving_out(name, left_out):
                results[name] = job.run(name)
                typer.echo(f"{i}/{len(names)} {name}: {results[name][2]:.2f} s", err=True)
    except KeyboardInterrupt:
        if not results:
            raise
    if not results:
        raise LayerError("None of these methods can explain this model. " + " ".join(dict.fromkeys(left_out.values())))
    for line in viz.tables.left_out(left_out):
        typer.echo(line, err=True)
    return results


def _load(model: str | None, weights: str, unsafe: bool, scale: str | None = None, size: str | None = None) -> Any:
    from keras_explainable import loading

    if weights not in ("imagenet", "none"):
        raise typer.BadParameter(f"Expected imagenet or none. Got {weights!r}.", param_hint="--weights")
    if scale not in (None, *loading.SCALES):
        raise typer.BadParameter(f"Expected one of: {', '.join(loading.SCALES)}.", param_hint="--scale")
    if size and not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})?", size):
        raise typer.BadParameter(f"Expected a number, or HxW such as 240x320. Got {size!r}.", param_hint="--size")
    sides = [int(side) for side in size.split("x")] if size else []
    return loading.load(
        model, None if weights == "none" else weights, not unsafe, scale, (sides[0], sides[-1]) if sides else None
    )


def _print_embedded(model: str | None) -> None:
    if model is None:
        print(f"No --model: using the embedded network, which knows only painted shapes. {OTHERS}", file=sys.stderr)


def _print_fits(job: Job) -> None:
    for line in viz.framing.lines(job.fits):
        print(line, file=sys.stderr)


def _print_left_out(sources: Sources) -> None:
    """Print which images were left out and why, and exit with 1 if there are any."""
    for line in viz.tables.left_out(sources.left_out):
        typer.echo(line, err=True)
    if sources.left_out:
        raise typer.Exit(1)


def _print_guess(loaded: Any) -> None:
    if loaded.preprocess.guessed:
        print(f"Images are scaled by {loaded.preprocess.name!r}, a guess. Set --scale if it is wrong.", file=sys.stderr)
