"""The command line: `keras-explainable explain photo.jpg`. Typer is imported only when a command runs."""

from keras_explainable.cli.start import app as app
from keras_explainable.cli.start import main as main
