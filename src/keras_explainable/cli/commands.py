"""The commands: what each is told, and what it does."""

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
from keras_explainable.cli.explanation_job import COMPARED, REPORT, Job, Sources, ending, highest, listed, table
from keras_explainable.cli.failures import friendly

HELP = (
    "Explain what an image model looked at. Start with `keras-explainable demo`, or `keras-explainable explain IMAGE`."
)
GRADCAM, ALL, NOWHERE = ["gradcam"], ["all"], list[Path]()
METHODS_HELP = "A method of `keras-explainable methods`, or all; can be repeated."
MODEL_HELP = (
    "demo, a keras.applications name (ImageNet weights), a .keras or .h5 file, or package.module:factory, a function "
    "that is imported and run (--path); with --unsafe on torch also a TorchScript file (.pt, .pth) or a torch.export "
    "archive (.pt2)."
)
PATH_HELP = (
    "Look in this folder, too, for the module of package.module:factory, after all that is installed. The current "
    "folder is not looked in unless it is named: --path ."
)
SCALE_HELP = (
    "What a model file takes: raw (0..255), unit (0..1), tf (-1..1), torch (ImageNet's mean and spread removed: the "
    "guess for modules of PyTorch), caffe."
)
FIT_HELP = (
    "How an image of another shape gets the model's: stretch all of it, crop to its middle, or pad with grey. Maps are "
    "laid over what the model saw."
)
OTHERS = "--model names another, such as ResNet50V2."
REPETITIONS_HELP = (
    "At most so many repetitions of a method, or channels of scorecam: with fewer than 200, what hides parts of the "
    "image shows noise. Methods that count none, such as occlusion and ablationcam, take their full time."
)

# What several commands are told.
Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE", help="Image files, of any size: --fit says how they get the model's.")
]
Method = Annotated[list[str], typer.Option("--method", "-m", help=METHODS_HELP)]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the pictures go.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist; otherwise nothing is done.")]
MaxPixels = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Images of more pixels are left out. More than 178 million are never read."),
]
Model = Annotated[str | None, typer.Option("--model", help=MODEL_HELP, show_default="demo")]
Size = Annotated[
    str | None,
    typer.Option(metavar="HxW", help="Size of the images, such as 32 or 240x320, for a model that takes any."),
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
        "--unsafe", help="Let a model file run code of its own. Only if you trust it as much as a program that you run."
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
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]

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
        typer.Option(metavar="N|top-K", help="The unit to explain: a number, its name, predicted, or the K highest."),
    ] = "top-1",
    layer: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The layer of CAM methods, from `keras-explainable layers`."),
    ] = None,
    out: Out = Path("explained"),
    overwrite: Overwrite = False,
    max_pixels: MaxPixels = viz.image_files.MAX_PIXELS,
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html as well, with all maps side by side.")
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
    """Explain images: save each beside its maps, one picture for each image and method."""
    methods = _methods(method, layer)
    sources = Sources(images, [ending(name) for name in methods], max_pixels)
    place = viz.output.Out(out, overwrite)
    place.check([*sources.files, *[REPORT] * report])
    loaded = _load(model, weights, unsafe, scale, size)
    _tell_guess(loaded)
    job = Job(loaded, sources, unit, {"layer": layer} if layer else {}, fit=fit)
    _tell_fits(job)
    results = _those_that_fit(job, methods) if "all" in method else {name: job.run(name) for name in methods}
    made = job.save(results, place)
    _tell_embedded(model)
    typer.echo(made)
    if report:
        typer.echo(viz.tables.shown(f"Report: {job.report(results, place)}"))
    _tell_left_out(sources)


@cli.command()
@friendly
def compare(
    images: Images,
    model: Model = None,
    methods: Annotated[list[str], typer.Option("--methods", "--method", "-m", help=METHODS_HELP)] = ALL,
    unit: Annotated[str, typer.Option(metavar="N|top-1", help="The unit to explain: a number or its name.")] = "top-1",
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
    """Put the maps of many methods side by side: one picture for each image, with times and peaks.

    Stopped by Ctrl-C, it shows those that are done."""
    if highest(unit) > 1:
        hint = f"explain --unit {unit} -m METHOD shows several"
        raise typer.BadParameter(f"compare shows one unit of each image: {hint}. Got {unit!r}.", param_hint="--unit")
    names = _methods(methods, None)
    sources = Sources(images, [ending(COMPARED)], max_pixels)
    place = viz.output.Out(out, overwrite)
    place.check(sources.files)
    loaded = _load(model, weights, unsafe, scale, size)
    _tell_guess(loaded)
    job = Job(loaded, sources, unit, {}, repetitions, fit)
    _tell_fits(job)
    made = job.compare(_those_that_fit(job, names), place)
    _tell_embedded(model)
    for path in made:
        typer.echo(viz.tables.shown(path))
    _tell_left_out(sources)


@cli.command()
@friendly
def dump(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A folder of images; the sample scenes if none is given."),
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
    """Lay maps over all images of a folder: one picture of the image's size for each image and method."""
    from keras_explainable.gallery import image_folder as dumping

    methods, loaded = _methods(method, None), _load(model, weights, unsafe, scale, size)
    _tell_guess(loaded)
    made = dumping.make(loaded, folder, out, methods, sys.stdout.isatty(), fit, overwrite, max_pixels)
    if folder:  # the sample scenes are what the embedded network knows
        _tell_embedded(model)
    typer.echo(str(made))
    raise typer.Exit(0 if made.pictures and made.left_out.keys() <= set(methods) else 1)


@cli.command()
@friendly
def methods(debug: Debug = False) -> None:
    """List the methods by family: what each needs, and costs in passes of the model, and what it shows."""
    import keras_explainable as ke

    typer.echo(listed(ke.methods.list()))


@cli.command()
@friendly
def layers(
    named: Annotated[str | None, typer.Argument(metavar="MODEL", help="The same as --model.")] = None,
    model: Model = None,
    all: Annotated[bool, typer.Option("--all", help="Also those without a place in the image.")] = False,
    weights: Weights = "imagenet",
    size: Size = None,
    unsafe: Unsafe = False,
    look_in: LookIn = NOWHERE,
    backend: On = None,
    debug: Debug = False,
) -> None:
    """List the layers that can be explained (--layer), in the order in which they run, with their shapes.

    "places" is how a layer's signal is read as places of the image, "evidence" how well it shows them (0.5 is chance, 1
    perfect), and "score" whether the score depends on them."""
    from keras_explainable import inspection

    if named and model and named != model:
        raise typer.BadParameter(f"MODEL and --model are the same. Got {named!r} and {model!r}.", param_hint="--model")
    loaded = _load(model or named, weights, unsafe, size=size)
    _tell_embedded(model or named)
    blank = loaded.preprocess(np.zeros((1, *loaded.size, 3), "uint8"))
    found = inspection.signals(loaded.model, blank)
    signals = [s for s in found if all or s.reading or len(s.shape) == 4]
    rows = [[s.path, s.call, s.kind, " x ".join(map(str, s.shape[1:])), *_measured(s)] for s in signals]
    hidden = "This model shows none of its layers (TorchScript and exported programs do not): explain its input."
    if found:
        hidden = "No layer of this model has a place in the image (--all lists them): explain its input."
    typer.echo(table(["layer", "call", "kind", "shape", "places", "evidence", "score"], rows) if rows else hidden)


def _measured(signal: Any) -> list[str]:
    """What the list of layers says of a signal, beside its shape."""
    evidence = "" if signal.evidence is None else f"{signal.evidence:.2f}"
    reaches = {None: "", True: "yes", False: "no"}[signal.reaches]
    return [str(signal.reading or ""), evidence, reaches]


@cli.command()
@friendly
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the report and the pictures go.")
    ] = Path("demo"),
    model: Model = None,
    images: Annotated[int, typer.Option(min=1, help="How many scenes to show.")] = 6,
    look_in: LookIn = NOWHERE,
    overwrite: Overwrite = False,
    backend: On = None,
    debug: Debug = False,
) -> None:
    """Explain the sample scenes by every method, and say how often the maps point at the object.

    To be quick, methods that repeat do so less often than by default: their numbers differ from docs/methods.md."""
    words = ["--out", str(out), "--images", str(images), *(["--model", model] if model else []), *["--debug"] * debug]
    words += ["--overwrite"] * overwrite
    raise typer.Exit(runpy.run_module("keras_explainable.gallery")["main"](words))  # a program of its own


def _methods(names: Sequence[str], layer: str | None) -> list[str]:
    """The methods named, once each; a usage error if there is no such method, or a layer is given to one without."""
    from keras_explainable import registry

    known = [record.name for record in registry.listed()]
    if "all" in names:
        whole = [name for name in known if layer and not _takes_layer(name)]
        if whole:
            typer.echo(f"Left out: {', '.join(whole)}: they look at the whole model, not at one layer.", err=True)
        return [name for name in known if name not in whole]
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in known:
            near = registry.nearest(name)
            hint = f"Did you mean {near[0]}?" if near else f"Expected one of: {', '.join(known)}."
            raise typer.BadParameter(f"There is no method {name!r}. {hint}", param_hint="--method")
        if layer and not _takes_layer(name):
            raise typer.BadParameter(f"{name} looks at the whole model, not at one layer.", param_hint="--layer")
    return names


def _takes_layer(name: str) -> bool:
    from keras_explainable import registry

    return registry.takes(registry.get(name), "layer")


def _those_that_fit(job: Job, names: Sequence[str]) -> dict[str, Any]:
    """The results of all methods that fit the model, the others left out and told; Ctrl-C leaves those done."""
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
        raise typer.BadParameter(f"Expected a number, or HxW as in 240x320. Got {size!r}.", param_hint="--size")
    sides = [int(side) for side in size.split("x")] if size else []
    return loading.load(
        model, None if weights == "none" else weights, not unsafe, scale, (sides[0], sides[-1]) if sides else None
    )


def _tell_embedded(model: str | None) -> None:
    if model is None:
        print("No --model: this is the embedded network, which knows only painted shapes. " + OTHERS, file=sys.stderr)


def _tell_fits(job: Job) -> None:
    for line in viz.framing.lines(job.fits):
        print(line, file=sys.stderr)


def _tell_left_out(sources: Sources) -> None:
    """Images that were left out, and why; the command then ends with 1."""
    for line in viz.tables.left_out(sources.left_out):
        typer.echo(line, err=True)
    if sources.left_out:
        raise typer.Exit(1)


def _tell_guess(loaded: Any) -> None:
    if loaded.preprocess.guessed:
        print(f"Images are fed at the scale {loaded.preprocess.name!r}, a guess: --scale says better.", file=sys.stderr)
