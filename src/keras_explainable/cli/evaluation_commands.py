"""The commands that measure maps: `evaluate`, `trust` and `metrics`."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_explainable import errors
from keras_explainable.cli import options
from keras_explainable.cli.doctor import cli
from keras_explainable.cli.explanation_job import Job, Sources, cut_to_width, table
from keras_explainable.cli.failures import friendly
from keras_explainable.cli.grouped import grouped

if TYPE_CHECKING:
    import numpy as np

DEFAULT = ["default"]


@cli.command()
@friendly
@grouped
def evaluate(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE|DIR", help="Image files of any size, or folders of them.")
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods", "--method", "-m", help=options.METHODS_HELP, show_default="a few of different families"
        ),
    ] = None,
    metrics: Annotated[
        list[str], typer.Option("--metrics", "--metric", help="A metric from `keras-explainable metrics`, or default.")
    ] = DEFAULT,
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="A folder with a mask for each image, by the same name: an image that is black outside of the object.",
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, metavar="N", help="About how long it may take. Fewer images are measured.")
    ] = None,
    unit: options.Unit = "top-1",
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write all values to this file.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a report with charts and images to this file.")
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    given: options.Given,
) -> None:
    """Measure which methods explain this model best on these images, and say whether the choice matters.

    The table has a row for each method and for baselines that know nothing of the model. Each cell is the mean over
    images with its 95 % interval. A name in brackets is not better than all baselines."""
    import keras_explainable as ke

    names = options.named_methods(methods, None) if methods else None
    _check_free([csv, html], overwrite)
    _check_needs(metrics, masks)
    found = list(_files(images))
    alone = [] if masks is None else [path for path in found if not _mask_file(path, masks)]
    if len(alone) == len(found):
        raise errors.InputError(
            f"No mask in {masks} has the name of an image." if alone else "The folders that were named hold no images."
        )
    sources = Sources([path for path in found if path not in alone], [""], given.max_pixels)
    sources.left_out |= {str(path): f"No mask in {masks} has its name." for path in alone}
    loaded = given.load()
    job = Job(loaded, sources, unit, {}, fit=given.fit)
    options.print_fits(job)
    where = None if masks is None else _masks(job, masks, given.fit or loaded.preprocess.fit)
    result = ke.evaluate(
        loaded.model,
        job.inputs,
        job.units,
        names,
        "default" if metrics == DEFAULT else metrics,
        where,
        minutes=minutes,
        verbose=int(sys.stderr.isatty() and sys.stdout.isatty()),
    )
    options.print_embedded(given.model)
    typer.echo("\n".join(map(errors.printable, str(result).splitlines())))
    if csv is not None:
        result.to_csv(csv)
    if html is not None:
        result.to_html(html, job.photos, [path.name for path, _ in job.named])
    options.print_left_out(sources)


@cli.command()
@friendly
@grouped
def trust(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file of any size.")],
    method: Annotated[
        str, typer.Option("--method", "-m", help="A method from `keras-explainable methods`.")
    ] = "gradcam",
    unit: options.Unit = "top-1",
    quick: Annotated[bool, typer.Option("--quick", help="Repeat less: a third of the time.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the card to this file.")] = None,
    overwrite: options.Overwrite = False,
    *,
    given: options.Given,
) -> None:
    """Check one map of one image: is it better than chance, does it depend on the model and on the class, and more.

    The card has a sentence for each of eight checks, and says whether the map is supported, contradicted or
    undecided."""
    import keras_explainable as ke

    (name,) = options.named_methods([method], None)
    _check_free([html], overwrite)
    sources = Sources([image], [""], given.max_pixels)
    loaded = given.load()
    job = Job(loaded, sources, unit, {}, fit=given.fit)
    options.print_fits(job)
    if job.units.shape != (1, 1):
        raise errors.InputError(f"--unit {unit} names {job.units.size} units, and one was expected.")
    card = ke.trust(loaded.model, job.inputs, job.units, name, quick)
    card = dataclasses.replace(card, label=job.unit_name(job.units[0, 0]), image=job.photos[0])
    options.print_embedded(given.model)
    typer.echo("\n".join(map(errors.printable, card.text().splitlines())))
    if html is not None:
        card.to_html(html)


def _check_needs(metrics: Sequence[str], masks: Path | None) -> None:
    """Raise if a metric needs what was not given, or what only Python can give."""
    import keras_explainable as ke

    needs = {record.name: record.needs for record in ke.metrics.list()}
    for name in metrics:
        if "objects" in needs.get(name, ()):
            raise errors.InputError(f"{name} needs images redrawn without each object. Use ke.evaluate with objects=.")
        if "masks" in needs.get(name, ()) and masks is None:
            raise errors.InputError(f"{name} needs --masks DIR, a folder with a mask for each image.")


def _check_free(files: Sequence[Path | None], overwrite: bool) -> None:
    """Raise if one of the files exists and may not be replaced."""
    for file in files:
        if file is not None and file.exists() and not overwrite:
            raise errors.OutputError(f"{file} exists: add --overwrite, or choose another file.")


@cli.command()
@friendly
def metrics(debug: options.Debug = False) -> None:
    """List the metrics: what each needs, which values are better, what random maps reach, and what it measures."""
    import keras_explainable as ke

    rows = [
        [r.name, r.group, ", ".join(sorted(r.needs)) or "maps", r.better or "-", r.chance, r.summary]
        for r in ke.metrics.list()
    ]
    typer.echo(cut_to_width(table(["metric", "group", "needs", "better", "chance", "what it measures"], rows)))


def _files(given: Sequence[Path]) -> Iterator[Path]:
    """The image files that were named, and those in the folders that were named."""
    from keras_explainable.viz import image_files

    for path in given:
        if path.is_dir():
            yield from (p for p in sorted(path.iterdir()) if p.suffix.lower() in image_files.SUFFIXES)
        else:
            yield path


def _mask_file(image: Path, masks: Path) -> Path | None:
    """The mask of an image: the file of the same name, with any suffix."""
    return next((p for p in sorted(masks.iterdir()) if p.stem == image.stem and p.is_file()), None)


def _masks(job: Job, folder: Path, fit: str) -> "np.ndarray":
    """The masks (N, H, W) of a job's images, brought to the model's size as the images were."""
    import numpy as np

    from keras_explainable import viz

    found: list[Any] = []
    for path, _ in job.named:
        file = _mask_file(path, folder)
        assert file is not None
        size = job.loaded.size
        frame = viz.framing.framed(job.sources.read(file), size, fit)
        found.append(viz.framing.resized(frame, size).max(axis=-1) > 127)
    return np.stack(found)
