"""The commands, with their arguments and options."""

import runpy
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_explainable import errors
from keras_explainable.cli import options
from keras_explainable.cli.choices import NAME
from keras_explainable.cli.explanation_job import (
    COMPARED,
    MAPS,
    REPORT,
    Job,
    Sources,
    chosen_units,
    ending,
    fewer,
    method_list,
    table,
)
from keras_explainable.cli.failures import friendly
from keras_explainable.cli.grouped import grouped

HELP = (
    "Explain what an image model looked at. Start with `keras-explainable demo` or `keras-explainable explain IMAGE`."
)
ALL = ["all"]
START = """
Start here (docs/leaderboard.md measures all of them):
  a first map, fast                gradcam
  the pixels that count, exactly   lrp_epsilon_plus
  any function, without gradients  occlusion
Then measure on your own model and photos: keras-explainable evaluate PHOTOS --model MODEL"""

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
@grouped
def explain(
    images: options.Images,
    method: options.Methods = None,
    unit: Annotated[
        str,
        typer.Option(
            metavar="N|NAME|top-K", help="The unit to explain: its number, its name, predicted, or the K highest."
        ),
    ] = "top-1",
    layer: options.Layer = None,
    repetitions: options.Repetitions = None,
    shared_scale: options.SharedScale = False,
    out: options.Out = options.OUT,
    npz: options.Npz = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also write report.html, with all maps side by side.")
    ] = False,
    overwrite: options.Overwrite = False,
    *,
    given: options.Given,
) -> None:
    """Explain images. Save one picture for each image and method: the image beside its maps."""
    from keras_explainable import viz

    chosen = options.chosen_methods(method, given.model)
    names = options.named_methods(chosen, layer)
    sources = Sources(images, [ending(name) for name in names], given.max_pixels)
    place = viz.output.Out(out, overwrite)
    place.check([*sources.files, *[REPORT] * report, *[MAPS] * npz])
    job = Job(given.load(), sources, unit, {"layer": layer} if layer else {}, repetitions, given.fit, shared_scale)
    options.print_fits(job)
    results = _run(job, names, leave_out="all" in chosen)
    made = job.save(results, place)
    options.print_embedded(given.model)
    typer.echo(made)
    if report:
        typer.echo(errors.printable(f"Report: {job.report(results, place, shlex.join([NAME, *sys.argv[1:]]))}"))
    _also_npz(job, results, place, npz)
    options.print_left_out(sources)


@cli.command()
@friendly
@grouped
def compare(
    images: options.Images,
    methods: options.Method = ALL,
    unit: options.Unit = "top-1",
    layer: options.Layer = None,
    repetitions: options.Repetitions = None,
    out: options.Out = options.OUT,
    npz: options.Npz = False,
    overwrite: options.Overwrite = False,
    *,
    given: options.Given,
) -> None:
    """Compare the maps of many methods in one picture for each image, with times and peaks.

    After Ctrl-C, the picture shows the methods that are finished."""
    from keras_explainable import viz

    options.check_one_unit(unit, "compare")
    names = options.named_methods(methods, layer)
    sources = Sources(images, [ending(COMPARED)], given.max_pixels)
    place = viz.output.Out(out, overwrite)
    place.check([*sources.files, *[MAPS] * npz])
    job = Job(given.load(), sources, unit, {"layer": layer} if layer else {}, repetitions, given.fit)
    options.print_fits(job)
    if "all" in methods:
        print(job.forecast(names), file=sys.stderr)
    results = _run(job, names)
    made = job.compare(results, place)
    options.print_embedded(given.model)
    for path in made:
        typer.echo(errors.printable(path))
    _also_npz(job, results, place, npz)
    options.print_left_out(sources)


def _also_npz(job: Job, results: dict[str, Any], place: Any, wanted: bool) -> None:
    """Write the maps as numbers, if that is wanted."""
    if wanted:
        typer.echo(errors.printable(f"Maps: {job.save_npz(results, place)}"))


@cli.command()
@friendly
@grouped
def dump(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A folder of images. Default: the sample scenes."),
    ] = None,
    method: options.Method = ALL,
    unit: options.Unit = "top-1",
    layer: options.Layer = None,
    repetitions: options.Repetitions = None,
    out: options.Out = options.OUT,
    npz: options.Npz = False,
    overwrite: options.Overwrite = False,
    *,
    given: options.Given,
) -> None:
    """Draw maps over all images in a folder: one picture of the image's size for each image and method."""
    from keras_explainable import loading
    from keras_explainable.gallery import image_folder as dumping

    options.check_one_unit(unit, "dump")
    names, loaded = options.named_methods(method, layer), given.load()
    made = dumping.make(
        loaded,
        folder,
        out,
        names,
        sys.stdout.isatty(),
        given.fit,
        overwrite,
        given.max_pixels,
        units=lambda inputs: chosen_units(loaded, loading.scores(loaded, inputs), unit)[:, 0],
        params=lambda name: ({"layer": layer} if layer else {}) | fewer(name, repetitions),
        npz=npz,
    )
    if folder:  # the sample scenes are what the embedded network knows
        options.print_embedded(given.model)
    typer.echo(str(made))
    raise typer.Exit(0 if made.pictures and made.left_out.keys() <= set(names) else 1)


@cli.command()
@friendly
def methods(debug: options.Debug = False) -> None:
    """List the methods by family: what each needs, what it costs in passes of the model, and what it shows."""
    import keras_explainable as ke

    typer.echo(method_list(ke.methods.list()))
    typer.echo(START)


@cli.command()
@friendly
def layers(
    named: Annotated[str | None, typer.Argument(metavar="MODEL", help="The same as --model.")] = None,
    model: options.Model = None,
    all: Annotated[bool, typer.Option("--all", help="Also list layers without places in the image.")] = False,
    weights: options.Weights = "imagenet",
    size: options.Size = None,
    unsafe: options.Unsafe = False,
    look_in: options.LookIn = options.NOWHERE,
    backend: options.On = None,
    debug: options.Debug = False,
) -> None:
    """List the layers that can be explained (--layer) with their shapes, in the order in which they run.

    A "*" marks the layer that methods explain without --layer. "places" is how a layer's signal is read as places of
    the image. "evidence" is how well it shows them (0.5 is chance, 1 is perfect). "score" is whether the score depends
    on them."""
    import numpy as np

    from keras_explainable import inspection

    if named and model and named != model:
        raise typer.BadParameter(
            f"{model!r} came, and {named!r} as MODEL, which means the same: give one.", param_hint="--model"
        )
    loaded = options.load_model(model or named, weights, unsafe, size=size)
    options.print_embedded(model or named)
    blank = loaded.preprocess(np.zeros((1, *loaded.size, 3), "uint8"))
    found = inspection.signals(loaded.model, blank)
    signals = [s for s in found if all or s.reading or len(s.shape) == 4]
    default = _default_layer(loaded.model, blank) if signals else None
    rows = [
        [
            f"{s.path}{' *' * (default == (s.path, s.call))}",
            s.call,
            s.kind,
            " x ".join(map(str, s.shape[1:])),
            *_measured(s),
        ]
        for s in signals
    ]
    hidden = "This model shows none of its layers (TorchScript and exported programs do not). Explain its input."
    if found:
        hidden = "No layer of this model has a place in the image (--all lists them). Explain its input."
    typer.echo(table(["layer", "call", "kind", "shape", "places", "evidence", "score"], rows) if rows else hidden)
    if default:
        typer.echo(f"\n* Taken without --layer: {errors.printable(default[0])}")


def _default_layer(model: Any, images: Any) -> tuple[str, int] | None:
    """Return the path and call of the layer that is explained if none is named; None if there is none."""
    from keras_explainable import inspection

    try:
        point = inspection.default_signal(model, images)
    except errors.LayerError:
        return None
    return point.path, point.call


def _measured(signal: Any) -> list[str]:
    """Return the cells of a signal's reading, evidence, and whether it reaches the score."""
    evidence = "" if signal.evidence is None else f"{signal.evidence:.2f}"
    reaches = {None: "", True: "yes", False: "no"}[signal.reaches]
    return [str(signal.reading or ""), evidence, reaches]


@cli.command()
@friendly
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for the report.")] = Path("demo"),
    model: options.Model = None,
    images: Annotated[int, typer.Option(min=1, help="The number of scenes to show.")] = 6,
    all: Annotated[bool, typer.Option("--all", help="Run every method: several minutes.")] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also write a JPEG file for each scene and method.")
    ] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the report.")] = False,
    look_in: options.LookIn = options.NOWHERE,
    overwrite: options.Overwrite = False,
    backend: options.On = None,
    debug: options.Debug = False,
) -> None:
    """Explain the sample scenes, and write a report: what was found, and which methods to trust here.

    To save time, methods use fewer repetitions than by default: their numbers differ from docs/methods.md."""
    words = ["--out", str(out), "--images", str(images), *(["--model", model] if model else []), *["--debug"] * debug]
    words += ["--overwrite"] * overwrite + ["--all"] * all + ["--pictures"] * pictures + ["--no-open"] * no_open
    words += ["--shown-as", f"{NAME} demo"]
    raise typer.Exit(runpy.run_module("keras_explainable.gallery")["main"](words))  # a separate program


def _run(job: Job, names: Sequence[str], leave_out: bool = True) -> dict[str, Any]:
    """Run the methods. Leave out and report those that do not fit the model, or raise. After Ctrl-C, return the
    finished ones."""
    from keras_explainable import viz
    from keras_explainable.errors import LayerError
    from keras_explainable.gallery.maps import groups

    results: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    done = 0
    try:
        for group in groups(names):
            found = job.run(group, left_out)
            results |= found
            done += len(group)
            if left_out and not leave_out:
                raise LayerError(next(iter(left_out.values())))
            if leave_out and found:
                seconds = sum(one[2] for one in found.values()) * job.units.size
                typer.echo(f"{done}/{len(names)} {', '.join(found)}: {seconds:.2f} s", err=True)
    except KeyboardInterrupt:
        if not results or not leave_out:
            raise
    if not results:
        raise LayerError("None of these methods can explain this model. " + " ".join(dict.fromkeys(left_out.values())))
    for line in viz.tables.left_out(left_out):
        typer.echo(line, err=True)
    return {name: results[name] for name in names if name in results}
