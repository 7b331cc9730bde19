"""The command `web`, which shows maps in the browser."""

from importlib.util import find_spec
from typing import Annotated, Any

import typer

from keras_explainable import ctrl_c, errors
from keras_explainable.cli import options
from keras_explainable.cli.choices import NAME
from keras_explainable.cli.evaluation_commands import cli
from keras_explainable.cli.failures import friendly


@cli.command()
@friendly
def web(
    named: Annotated[str | None, typer.Argument(metavar="MODEL", help=options.MODEL_HELP, show_default="demo")] = None,
    weights: options.Weights = "imagenet",
    scale: options.Scale = None,
    size: options.Size = None,
    unsafe: options.Unsafe = False,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen. Anything else lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="The port, or the next one that is free. 0 is any.")
    ] = 8765,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    look_in: options.LookIn = options.NOWHERE,
    backend: options.On = None,
    debug: options.Debug = False,
) -> None:
    """Show maps in the browser: choose an image, tick methods, blend, compare layers and classes.

    The page needs the address that is printed, with its token. Nothing leaves this machine. Ctrl-C ends it."""
    for package in ("starlette", "uvicorn", "PIL"):
        if find_spec(package) is None:
            raise errors.BackendError(f'The page needs {package}, which is missing: pip install "{NAME}[web]"')
    from keras_explainable import web as page

    loaded = options.load_model(named, weights, unsafe, scale, size)
    options.print_guess(loaded)
    options.print_embedded(named)
    page.serve(loaded, _line(loaded, named, weights, scale, size, unsafe), host, port, open_browser, typer.echo)
    ctrl_c.leave()  # after Ctrl-C: a normal exit would wait for what is being computed


def _line(loaded: Any, named: str | None, weights: str, scale: str | None, size: str | None, unsafe: bool) -> str:
    """The line of Python that loads the same model."""
    given = {
        "weights": (None if weights == "none" else weights, weights != "imagenet"),
        "safe_mode": (False, unsafe),
        "scale": (scale, scale is not None),
        "size": (tuple(loaded.size), size is not None),
    }
    arguments = [*([repr(named)] if named else []), *(f"{key}={value!r}" for key, (value, own) in given.items() if own)]
    return f"ke.load({', '.join(arguments)})"
