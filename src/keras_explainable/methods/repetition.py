"""Where `as_inputs` was."""

from keras_explainable.runtime.repetition import as_inputs as as_inputs
