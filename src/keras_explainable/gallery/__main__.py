"""`python -m keras_explainable.gallery`: explain the sample scenes by every method and write a report."""

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and print where its files are. Return 0, or 1 after an error. Exit with 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m keras_explainable.gallery", description=__doc__)
    parser.add_argument(
        "--out", default="demo", metavar="DIR", help="the folder for the report and the pictures (default: demo)"
    )
    parser.add_argument("--model", metavar="NAME_OR_PATH", help="as in keras-explainable explain")
    parser.add_argument("--images", type=int, default=6, metavar="N", help="the number of scenes to show (default: 6)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(arguments)

    from keras_explainable import ctrl_c
    from keras_explainable.errors import ExplainError, printable
    from keras_explainable.runtime import selection

    try:
        selection.choose()
        from keras_explainable.gallery import gallery

        ctrl_c.raise_again()
        made = gallery.make(options.out, options.model, options.images, overwrite=options.overwrite)
    except (ExplainError, OSError) as error:
        if options.debug:
            raise
        print(printable(f"Error: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        ctrl_c.leave()
    print(gallery.summary(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
