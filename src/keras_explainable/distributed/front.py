"""`explain` and `status`: what users call. Nothing else is imported before it is needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_explainable.distributed import needs
from keras_explainable.errors import InputError, shortly

if TYPE_CHECKING:
    from keras_explainable.distributed.maps import Maps
    from keras_explainable.distributed.summary import Report

OWN = ("x", "y", "steps", "callbacks", "resizing", "as_numpy", "leaf", "shared", "run_eagerly")  # of `ke.explain`


def explain(
    method: Any,
    model: Any,
    source: Any,
    out: str | Path,
    *,
    unit: int | str = "top-1",
    engine: str = "auto",
    num_workers: int | None = None,
    num_cpus: float | None = None,
    num_gpus: float = 0,
    batch_size: int = 32,
    part_size: int | None = None,
    format: str = "zarr",
    dtype: str = "uint8",
    resolution: str = "signal",
    fit: str | None = None,
    column: str = "image",
    id_column: str | None = None,
    storage_options: dict[str, Any] | None = None,
    weights: str | None = "imagenet",
    safe_mode: bool = True,
    scale: str | None = None,
    size: tuple[int, int] | None = None,
    labels: list[str] | None = None,
    max_attempts: int = 3,
    retry: bool = False,
    verify: bool = False,
    verbose: int | str = "auto",
    **method_params: Any,
) -> "Report":
    """Explain all images of a source, and store the maps. The same call again goes on where it stopped.

    Args:
        method: as in `ke.explain`: a method, or several that share passes.
        model: what `ke.load` takes: a name, a file, or "package.module:factory". Or a `keras.Model`, which is saved in
            `out`. Each worker loads and compiles it once.
        source: a folder or URL of images, Parquet files, WebDataset archives, or a list of paths and URLs. What it
            lists is frozen when the run begins.
        out: the folder or URL of the output.
        unit: a number, "predicted", "top-3", "all", with `labels` a name, or "column:NAME" of a Parquet source.
        engine: "local" runs in this process, "ray" on a Ray cluster or on all of this machine, and "shard" explains
            this rank's share of the parts, by the variables of SLURM, torchrun or Kubernetes. "auto" is "shard" if
            there are such variables, "ray" on a cluster or if `num_workers` is given, and otherwise "local".
        num_workers, num_cpus, num_gpus: of Ray: how many workers, and what each of them takes. Of "shard":
            `num_workers` is the number of ranks, where no variable says it.
        batch_size: how many images are explained at once.
        part_size: the images of a part, which is written and committed as a whole: a multiple of `batch_size`. None
            chooses it.
        format: "zarr" or "parquet".
        dtype: "uint8" and "float16" store each map between its smallest and largest value, "float32" as it is.
        resolution: "signal" stores maps of a layer as small as they are, and resizes them when they are read. "image"
            stores them at the size of the images.
        fit: how images of another size are fitted: "squash", "crop", or "exact", which sets them aside. None does what
            the model is known to take.
        column, id_column: of a Parquet source.
        storage_options: as `fsspec` takes them, for `source` and `out`.
        weights, safe_mode, scale, size: as in `ke.load`.
        labels: as in `ke.explain`.
        max_attempts: a part with which so many processes have died is given up.
        retry: explain parts with images that were set aside or given up once more.
        verify: compare all that is there with what was committed, and redo what is damaged.
        verbose: 0 shows no progress.
        method_params: parameters of the method, and others of `ke.explain`.

    Raises:
        InputError: something does not fit, or `out` holds another run; each difference is named.
        OutputError: something cannot be written. Nothing of its part was committed.
    """
    needs.check("fsspec", "pyarrow", *(["zarr"] if format == "zarr" else []))
    from keras_explainable.distributed import engines, running
    from keras_explainable.distributed.settings import Job, ModelSource, check_choices, plain

    for name in OWN:
        if name in method_params:
            raise InputError(f"{name}= came, which a run over many images chooses itself: leave it out.")
    if not isinstance(max_attempts, int) or max_attempts < 1:
        raise InputError(f"max_attempts={shortly(max_attempts)} came, and a number, 1 or more, was expected.")
    given = model if isinstance(model, str | Path | None) else None
    names = tuple(labels) if labels is not None else None
    job = Job(
        out=running.absolute(out),
        storage_options=dict(storage_options or {}),
        method=method,
        params=method_params,
        model=ModelSource(None if given is None else str(given), weights, safe_mode, scale, size, names),
        unit=running.checked_unit(unit, names),
        batch_size=batch_size,
        dtype=dtype,
        resolution=resolution,
        fit=fit,
        max_attempts=max_attempts,
    )
    check_choices(job, format)
    settings = {
        "method": plain(method, "method"),
        "parameters": plain(method_params),
        "unit": job.unit,
        "model": "a keras.Model" if given is None and model is not None else str(given or "demo"),
        "random_weights": weights is None,
        "dtype": dtype,
        "format": format,
        "resolution": resolution,
        "batch_size": batch_size,
        "source": running.named_source(source),
        "column": column,
        "id_column": id_column,
        "labels": plain(names),
        **{name: value for name, value in {"scale": scale, "size": plain(size), "fit": fit}.items() if value},
    }
    wanted = running.Wanted(
        job=job,
        settings=settings,
        source=source,
        given_model=None if given is not None else model,
        part_size=part_size,
        engine=engines.name_of(engine, num_workers),
        workers=num_workers,
        cpus=num_cpus,
        gpus=num_gpus,
        verbose=verbose,
    )
    return running.run(wanted, retry, verify)


def status(out: str | Path, *, verify: bool = False, storage_options: dict[str, Any] | None = None) -> "Report":
    """What a run has done: images explained, left, set aside and why.

    Args:
        verify: also compare all that is there with what was committed, and name damaged parts in `.damaged`.
    """
    needs.check("fsspec", "pyarrow")
    from keras_explainable.distributed import summary

    return summary.report(*summary.opened(str(out), storage_options), verify)


def open(
    out: str | Path, method: str | None = None, *, storage_options: dict[str, Any] | None = None, resize: bool = True
) -> "Maps":
    """The maps in the output of a run, also of one that is not finished. This loads neither Keras nor Ray.

    Args:
        method: which method's maps, if there are several.
        resize: False gives maps of a layer at the layer's own size.

    Returns:
        `maps["a/cat.jpg"]` and `maps[0:64]` are float32 (H, W, K); `maps.table` is a `pyarrow.Table` of all images;
        `maps.iter_batches()` goes over all.
    """
    needs.check("fsspec", "pyarrow")
    from keras_explainable.distributed.maps import Maps

    return Maps(str(out), method, storage_options, resize)
