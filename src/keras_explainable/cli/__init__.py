"""The command line: `keras-explainable explain photo.jpg`. Typer loads when it is needed."""

from keras_explainable.cli.start import app as app
from keras_explainable.cli.start import main as main
