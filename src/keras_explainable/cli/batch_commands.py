"""The commands of runs over many images: `batch` and `status`."""

import functools
import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from keras_explainable import errors
from keras_explainable.cli import options
from keras_explainable.cli.explanation_job import fewer
from keras_explainable.cli.failures import friendly
from keras_explainable.cli.web_command import cli


class Engine(StrEnum):
    """What runs the parts."""

    auto = "auto"
    local = "local"
    ray = "ray"
    shard = "shard"


class Format(StrEnum):
    """How maps are stored."""

    zarr = "zarr"
    parquet = "parquet"


class Stored(StrEnum):
    """The numbers that maps are stored as."""

    uint8 = "uint8"
    float16 = "float16"
    float32 = "float32"


class Resolution(StrEnum):
    """The size that maps are stored at."""

    signal = "signal"
    image = "image"


class Squeezed(StrEnum):
    """How an image is brought to the model's size."""

    squash = "squash"
    crop = "crop"
    exact = "exact"


Output = Annotated[str, typer.Argument(metavar="OUT", help="The folder or URL of the output.")]
Storage = Annotated[
    str | None,
    typer.Option(metavar="JSON", help='What fsspec needs to reach SOURCE and OUT, such as {"anon": true}.'),
]
Verify = Annotated[bool, typer.Option("--verify", help="Compare all that is there with what was committed.")]


@cli.command()
@friendly
def batch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A folder or URL of images, Parquet files, or tars (WebDataset), or a pattern."
        ),
    ],
    out: Output,
    model: options.Model = None,
    method: options.Methods = None,
    unit: Annotated[
        str,
        typer.Option(
            metavar="N|NAME|top-K|column:NAME", help="The units to explain; all; or the column of SOURCE that has them."
        ),
    ] = "top-1",
    layer: options.Layer = None,
    repetitions: options.Repetitions = None,
    labels: options.Labels = None,
    engine: Annotated[
        Engine, typer.Option(help="auto: shard under SLURM, torchrun or Kubernetes, ray on a cluster, else local.")
    ] = Engine.auto,
    num_workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="Ray's workers; or the ranks.")] = None,
    num_cpus: Annotated[float | None, typer.Option(min=0, metavar="N", help="CPUs of each of Ray's workers.")] = None,
    num_gpus: Annotated[float, typer.Option(min=0, metavar="N", help="GPUs of each of Ray's workers.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="How many images are explained at once.")] = 32,
    part_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Images that are committed together. Default: as fits.")
    ] = None,
    format: Annotated[Format, typer.Option(help="How maps are stored.")] = Format.zarr,
    dtype: Annotated[
        Stored, typer.Option(help="uint8 and float16 store each map between its extremes.")
    ] = Stored.uint8,
    resolution: Annotated[
        Resolution, typer.Option(help="signal stores maps of a layer as small as they are.")
    ] = Resolution.signal,
    fit: Annotated[
        Squeezed | None,
        typer.Option(help="How an image of another size is fitted. exact sets it aside.", show_default="the model's"),
    ] = None,
    column: Annotated[str, typer.Option(metavar="NAME", help="The column of images in Parquet files.")] = "image",
    id_column: Annotated[str | None, typer.Option(metavar="NAME", help="The column of their names.")] = None,
    storage_options: Storage = None,
    max_attempts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Give a part up when so many processes have died with it.")
    ] = 3,
    retry: Annotated[bool, typer.Option("--retry", help="Once more: what was set aside or given up.")] = False,
    verify: Verify = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if an image was set aside.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    weights: options.Weights = "imagenet",
    scale: options.Scale = None,
    size: options.Size = None,
    unsafe: options.Unsafe = False,
    look_in: options.LookIn = options.NOWHERE,
    backend: options.On = None,
    debug: options.Debug = False,
) -> None:
    """Explain all images of SOURCE, and store the maps in OUT. The same command again goes on where it stopped.

    It may be killed at any time: no image is lost, and none is recorded twice. With --verify, what is damaged is
    redone. Exit codes: 0 all is done, 1 it stopped, or with --strict an image was set aside."""
    from keras_explainable import distributed

    names = options.named_methods(options.chosen_methods(method, model), layer)
    shared = {"layer": layer} if layer else {}
    own = {name: fewer(name, repetitions) for name in names}
    several: Any = {name: (name, own[name]) for name in names} if any(own.values()) else list(names)
    report = distributed.explain(
        names[0] if len(names) == 1 else several,
        model,
        source,
        out,
        unit=unit,
        engine=str(engine),
        num_workers=num_workers,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        batch_size=batch_size,
        part_size=part_size,
        format=str(format),
        dtype=str(dtype),
        resolution=str(resolution),
        fit=None if fit is None else str(fit),
        column=column,
        id_column=id_column,
        storage_options=_options(storage_options),
        weights=None if weights == "none" else weights,
        safe_mode=not unsafe,
        scale=scale,
        size=options.sides(size),
        labels=labels.read_text(encoding="utf-8-sig").splitlines() if labels else None,
        max_attempts=max_attempts,
        retry=retry,
        verify=verify,
        verbose=0 if quiet else "auto",
        **shared,
        **(own[names[0]] if len(names) == 1 else {}),
    )
    options.print_embedded(model)
    typer.echo("\n".join(map(errors.printable, str(report).splitlines())))
    raise typer.Exit(1 if report.rest or report.damaged or (strict and (report.aside or report.given_up)) else 0)


@cli.command()
@functools.partial(friendly, keras=False)
def status(
    out: Output,
    verify: Verify = False,
    storage_options: Storage = None,
    debug: options.Debug = False,
) -> None:
    """Show what a run has done: images explained, left, set aside and why, and how many each second.

    Exit codes: 0 all is done, 1 some images are left, or with --verify something is damaged."""
    from keras_explainable import distributed

    report = distributed.status(out, verify=verify, storage_options=_options(storage_options))
    typer.echo("\n".join(map(errors.printable, str(report).splitlines())))
    raise typer.Exit(0 if report.complete else 1)


def _options(given: str | None) -> dict[str, Any] | None:
    """The options that fsspec takes. A usage error if they are not a JSON object."""
    if given is None:
        return None
    try:
        found = json.loads(given)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(
            f"{given!r} came, and JSON was expected: {error}.", param_hint="--storage-options"
        ) from None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{given!r} came, and an object was expected.", param_hint="--storage-options")
    return found
