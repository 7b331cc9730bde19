"""The command line: `keras-explainable explain photo.jpg`. Typer loads when it is needed."""

import functools
import inspect
import os
import re
import runpy
import sys
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from keras_explainable.cli.job import Job, fitted, table

NAME = "keras-explainable"
HELP = (
    "Explain what an image model looked at. Start with `keras-explainable demo`, or `keras-explainable explain IMAGE`."
)
METHODS_HELP = "A method of `keras-explainable methods`, or all; can be repeated."


class Backend(StrEnum):
    """The frameworks that Keras runs on."""

    tensorflow = "tensorflow"
    jax = "jax"
    torch = "torch"


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 it could not be done, 2 it was not said right."""
    _restart(sys.argv[1:])
    if find_spec("typer") is None:
        sys.exit(f'The command line needs typer, which is missing: pip install "{NAME}[cli]"')
    warnings.formatwarning = lambda message, *_, **__: f"Note: {message}\n"
    app()(prog_name=NAME)


def app() -> Any:
    """The Typer application."""
    import typer

    cli = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    options = _options(typer)
    cli.callback()(_version(typer))
    for add in (_add_explain, _add_compare, _add_dump, _add_methods, _add_layers, _add_demo):
        add(cli, options)
    return cli


def _version(typer: Any) -> Callable:
    def show(wanted: bool) -> None:
        if wanted:
            import keras_explainable

            typer.echo(f"{NAME} {keras_explainable.__version__}")
            raise typer.Exit

    def version(
        version: bool = typer.Option(False, "--version", callback=show, is_eager=True, help="Show the version."),
    ) -> None:
        pass

    return version


def _restart(arguments: Sequence[str]) -> None:
    """Begin anew where another backend is asked for: Keras took one when it was imported, before this line."""
    import keras

    match = re.search(r"(?:^|\0)--backend[=\0](\w+)", "\0".join(arguments))
    torch_file = any(word.endswith((".pt", ".pth", ".pt2")) for word in arguments)
    free = torch_file and not os.environ.get("KERAS_BACKEND")
    wanted = match[1] if match else "torch" if free else keras.backend.backend()
    if wanted not in list(Backend) or wanted in (keras.backend.backend(), os.environ.get("KERAS_BACKEND")):
        return
    if find_spec(wanted) is None:
        sys.exit(f'Error: {wanted} is not installed. Run: pip install "{NAME}[{wanted}]"')
    _again(wanted, arguments)


def _again(backend: str, arguments: Sequence[str]) -> None:
    """The same command in this process, on another backend."""
    os.environ["KERAS_BACKEND"] = backend
    os.execv(sys.executable, [sys.executable, "-m", "keras_explainable.cli", *arguments])


def _is_free() -> bool:
    """Whether nobody has chosen a backend, and PyTorch could be the one."""
    chosen = os.environ.get("KERAS_BACKEND") or any(word.startswith("--backend") for word in sys.argv)
    return not chosen and find_spec("torch") is not None


def _options(typer: Any) -> SimpleNamespace:
    """The options that several commands share."""
    return SimpleNamespace(
        model=typer.Option(
            "demo",
            "--model",
            help="demo, a keras.applications name (ImageNet weights), a .keras or .h5 file; on torch also a "
            "TorchScript file (.pt, .pth), a torch.export archive (.pt2), or package.module:factory.",
        ),
        size=typer.Option(
            None, metavar="HxW", help="Size of the images, such as 32 or 240x320, for a model that takes any."
        ),
        scale=typer.Option(
            None,
            help="What a model file takes: raw (0..255), unit (0..1), tf (-1..1), torch (ImageNet's mean and spread "
            "removed: the guess for modules of PyTorch), caffe.",
        ),
        weights=typer.Option("imagenet", help="imagenet or none (random), for a model of keras.applications."),
        unsafe=typer.Option(
            False, "--unsafe", help="Let a model file run Python code of its own. Only if you trust it."
        ),
        backend=typer.Option(None, help="Run on this framework.", show_default=False),
        debug=typer.Option(False, "--debug", help="Show where an error comes from."),
    )


def friendly(command: Callable) -> Callable:
    """The command, with errors told in one line and exit code 1, or as they are if `debug`."""

    @functools.wraps(command)
    def run(*, debug: bool, **options: Any) -> None:
        import typer

        from keras_explainable.errors import BackendError

        try:
            _check_backend(options.get("backend"))
            command(debug=debug, **options)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if isinstance(error, BackendError) and _is_free():  # a factory made a module of PyTorch
                _again("torch", sys.argv[1:])
            if debug:
                raise
            typer.echo(_one_line(error), err=True)
            raise typer.Exit(1) from None

    return run


def _one_line(error: Exception) -> str:
    from keras_explainable.errors import ExplainError

    text = " ".join(str(error).split())
    if isinstance(error, ExplainError | OSError):
        return f"Error: {text}"
    return f"Error: {type(error).__name__}: {text[:300]} (unexpected: --debug shows where)"


def _check_backend(backend: str | None) -> None:
    import keras

    from keras_explainable.errors import BackendError

    if backend not in (None, keras.backend.backend()):
        raise BackendError(f"Keras runs on {keras.backend.backend()} already. Set KERAS_BACKEND={backend} beforehand.")


def _add_explain(cli: Any, shared: SimpleNamespace) -> None:
    import typer

    images_ = typer.Argument(metavar="IMAGE", help="Image files; each is resized and cropped to the model's size.")
    method_ = typer.Option(["gradcam"], "--method", "-m", help=METHODS_HELP)
    unit_ = typer.Option(
        "top-1", "--unit", metavar="N|top-K", help="The unit to explain: a number, its name, or the K highest."
    )
    layer_ = typer.Option(
        None, "--layer", metavar="PATH", help="The layer of CAM methods, from `keras-explainable layers`."
    )
    out_ = typer.Option(Path("explained"), "--out", "-o", metavar="DIR", help="Where the pictures go.")
    report_ = typer.Option(False, "--report", help="Write report.html as well, with all maps side by side.")

    @cli.command()
    @friendly
    def explain(
        images: list[Path] = images_,
        model: str = shared.model,
        method: list[str] = method_,
        unit: str = unit_,
        layer: str | None = layer_,
        out: Path = out_,
        report: bool = report_,
        weights: str = shared.weights,
        scale: str | None = shared.scale,
        size: str | None = shared.size,
        unsafe: bool = shared.unsafe,
        backend: Backend | None = shared.backend,
        debug: bool = shared.debug,
    ) -> None:
        """Explain images: save each beside its maps, one picture for each image and method."""
        methods = _methods(method, layer)
        loaded = _load(model, weights, unsafe, scale, size)
        _tell_guess(loaded)
        job = Job(loaded, images, unit, {"layer": layer} if layer else {})
        results = {name: job.run(name) for name in methods}
        typer.echo(job.save(results, out))
        if report:
            typer.echo(f"Report: {job.report(results, out)}")


def _add_compare(cli: Any, shared: SimpleNamespace) -> None:
    import typer

    images_ = typer.Argument(metavar="IMAGE", help="Image files; each is resized and cropped to the model's size.")
    methods_ = typer.Option(["all"], "--methods", "--method", "-m", help=METHODS_HELP)
    unit_ = typer.Option("top-1", "--unit", metavar="N|top-1", help="The unit to explain: a number or its name.")
    out_ = typer.Option(Path("compared"), "--out", "-o", metavar="DIR", help="Where the pictures go.")

    @cli.command()
    @friendly
    def compare(
        images: list[Path] = images_,
        model: str = shared.model,
        methods: list[str] = methods_,
        unit: str = unit_,
        out: Path = out_,
        weights: str = shared.weights,
        scale: str | None = shared.scale,
        size: str | None = shared.size,
        unsafe: bool = shared.unsafe,
        backend: Backend | None = shared.backend,
        debug: bool = shared.debug,
    ) -> None:
        """Put the maps of many methods side by side: one picture for each image, with times and peaks."""
        from keras_explainable.errors import ExplainError, LayerError

        loaded = _load(model, weights, unsafe, scale, size)
        _tell_guess(loaded)
        job, results, left_out = Job(loaded, images, unit, {}), {}, {}
        for name in _methods(methods, None):
            try:
                results[name] = job.run(name)
            except ExplainError as error:
                left_out[name] = f"{name}: {error}"
        if not results:
            raise LayerError("None of these methods can explain this model. " + " ".join(left_out.values()))
        for reason in left_out.values():
            typer.echo(f"Left out: {reason}", err=True)
        for path in job.compare(results, out):
            typer.echo(path)


def _add_dump(cli: Any, shared: SimpleNamespace) -> None:
    import typer

    folder_ = typer.Argument(None, metavar="[DIR]", help="A folder of images; the sample scenes if none is given.")
    method_ = typer.Option(["all"], "--method", "-m", help=METHODS_HELP)
    out_ = typer.Option(Path("results"), "--out", "-o", metavar="DIR", help="Where the pictures go.")

    @cli.command()
    @friendly
    def dump(
        folder: Path | None = folder_,
        model: str = shared.model,
        method: list[str] = method_,
        out: Path = out_,
        weights: str = shared.weights,
        scale: str | None = shared.scale,
        size: str | None = shared.size,
        unsafe: bool = shared.unsafe,
        backend: Backend | None = shared.backend,
        debug: bool = shared.debug,
    ) -> None:
        """Lay maps over all images of a folder: one picture of the image's size for each image and method."""
        from keras_explainable import dump as dumping

        methods, loaded = _methods(method, None), _load(model, weights, unsafe, scale, size)
        _tell_guess(loaded)
        made = dumping.make(loaded, folder, out, methods, progress=sys.stdout.isatty())
        typer.echo(str(made))
        raise typer.Exit(0 if made.pictures else 1)


def _add_methods(cli: Any, shared: SimpleNamespace) -> None:
    import typer

    @cli.command()
    @friendly
    def methods(debug: bool = shared.debug) -> None:
        """List the methods."""
        from keras_explainable import registry

        rows = [
            [r.name, r.family, r.needs, r.cost, r.reference, f"{r.summary} {r.caveat}".strip()]
            for r in registry.METHODS.values()
        ]
        typer.echo(fitted(table(["method", "family", "needs", "cost", "reference", "summary"], rows)))


def _add_layers(cli: Any, shared: SimpleNamespace) -> None:
    import typer

    model_ = typer.Argument(help=shared.model.help, metavar="MODEL")
    all_ = typer.Option(False, "--all", help="Also those without a place in the image.")

    @cli.command()
    @friendly
    def layers(
        model: str = model_,
        all: bool = all_,
        weights: str = shared.weights,
        size: str | None = shared.size,
        unsafe: bool = shared.unsafe,
        backend: Backend | None = shared.backend,
        debug: bool = shared.debug,
    ) -> None:
        """List the layers that can be explained (--layer), in the order in which they run, with their shapes."""
        from keras_explainable import inspection

        loaded = _load(model, weights, unsafe, size=size)
        blank = loaded.preprocess(np.zeros((1, *loaded.size, 3), "uint8"))
        signals = [s for s in inspection.signals(loaded.model, blank) if all or len(s.shape) == 4]
        rows = [[s.path, s.call, s.kind, " x ".join(map(str, s.shape[1:]))] for s in signals]
        hidden = "This model shows none of its layers (TorchScript and exported programs do not): explain its input."
        typer.echo(table(["layer", "call", "kind", "shape"], rows) if rows else hidden)


def _add_demo(cli: Any, shared: SimpleNamespace) -> None:
    import typer

    out_ = typer.Option(Path("demo"), "--out", "-o", metavar="DIR", help="Where the report and the pictures go.")
    images_ = typer.Option(6, "--images", min=1, help="How many scenes to show.")

    @cli.command()
    @friendly
    def demo(
        out: Path = out_,
        model: str = shared.model,
        images: int = images_,
        backend: Backend | None = shared.backend,
        debug: bool = shared.debug,
    ) -> None:
        """Explain the sample scenes by every method, and say how often the maps point at the object."""
        words = ["--out", str(out), "--model", model, "--images", str(images), *["--debug"] * debug]
        raise typer.Exit(runpy.run_module("keras_explainable.demo")["main"](words))  # a program of its own


def _methods(names: Sequence[str], layer: str | None) -> list[str]:
    """The methods named, once each; a usage error if there is no such method, or a layer is given to one without."""
    import typer

    from keras_explainable import registry

    known = registry.METHODS
    names = list(known) if "all" in names else list(dict.fromkeys(names))
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1, 0.4)
            hint = f"Did you mean {near[0]}?" if near else f"Expected one of: {', '.join(known)}."
            raise typer.BadParameter(f"There is no method {name!r}. {hint}", param_hint="--method")
        if layer and "layer" not in inspect.signature(known[name].function).parameters:
            raise typer.BadParameter(f"{name} looks at the whole model, not at one layer.", param_hint="--layer")
    return names


def _load(model: str, weights: str, unsafe: bool, scale: str | None = None, size: str | None = None) -> Any:
    import typer

    from keras_explainable import loading

    if weights not in ("imagenet", "none"):
        raise typer.BadParameter(f"Expected imagenet or none. Got {weights!r}.", param_hint="--weights")
    if scale not in (None, *loading.SCALES):
        raise typer.BadParameter(f"Expected one of: {', '.join(loading.SCALES)}.", param_hint="--scale")
    if size and not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", size):
        raise typer.BadParameter(f"Expected a number, or HxW as in 240x320. Got {size!r}.", param_hint="--size")
    sides = [int(side) for side in size.split("x")] if size else []
    if ":" in model and "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` has it: a factory may be in a file right here
    return loading.load(
        model, None if weights == "none" else weights, not unsafe, scale, (sides[0], sides[-1]) if sides else None
    )


def _tell_guess(loaded: Any) -> None:
    if loaded.preprocess.guessed:
        print(f"Images are fed at the scale {loaded.preprocess.name!r}, a guess: --scale says better.", file=sys.stderr)
