"""`python -m keras_explainable.gallery`: explain the sample scenes, and write a report."""

import argparse
import os
import shlex
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

IMAGES = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo, print where its files are, and open the report on a desktop.

    Return 0, or 1 after an error. Exit with 130 after Ctrl-C."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _options(given)

    from keras_explainable import ctrl_c
    from keras_explainable.errors import ExplainError, printable
    from keras_explainable.runtime import selection

    try:
        selection.choose()
        from keras_explainable.gallery import gallery

        ctrl_c.raise_again()
        made = gallery.make(
            options.out,
            options.model,
            options.images,
            overwrite=options.overwrite,
            every=options.all,
            pictures=options.pictures,
            command=_typed(options),
        )
    except (ExplainError, OSError) as error:
        if options.debug:
            raise
        print(printable(f"Error: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        ctrl_c.leave()
    print(gallery.summary(made, _typed(options, "--all")))
    if not options.no_open and on_a_desktop():
        webbrowser.open(made.report.absolute().as_uri())
    return 0


def _typed(options: argparse.Namespace, *more: str) -> str:
    """Return what the user typed, with more arguments."""
    given = {"--model": options.model, "--images": options.images if options.images != IMAGES else None}
    words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    words += [name for name, is_given in (("--all", options.all), ("--pictures", options.pictures)) if is_given]
    line = shlex.join([*words, *(word for word in more if word not in words)])
    if options.shown_as.startswith("make"):
        line = f"ARGS={shlex.quote(line)}" if line else ""
    return f"{options.shown_as} {line}".rstrip()


def _options(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m keras_explainable.gallery", description=__doc__)
    parser.add_argument("--out", type=Path, default="demo", metavar="DIR", help="the folder (default: demo)")
    parser.add_argument("--model", metavar="NAME_OR_PATH", help="as in keras-explainable explain")
    parser.add_argument(
        "--images", type=int, default=IMAGES, metavar="N", help="the number of scenes to show (default: 6)"
    )
    parser.add_argument("--all", action="store_true", help="run every method: several minutes")
    parser.add_argument("--pictures", action="store_true", help="also write a JPEG file for each scene and method")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument("--no-open", action="store_true", help="do not open the report")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    # What the user typed to come here: `make demo` and `keras-explainable demo` run this program.
    parser.add_argument("--shown-as", default="python -m keras_explainable.gallery", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def on_a_desktop() -> bool:
    """Return whether a person sits before a screen: the output is a terminal, and there are windows."""
    if not sys.stdout.isatty() or os.environ.get("CI") or os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(main())
