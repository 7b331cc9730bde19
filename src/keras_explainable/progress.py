"""Progress of long calls: `with ke.progress.listening(callback): ...` observes them, and may stop them."""

from keras_explainable.runtime.progress import listening as listening
