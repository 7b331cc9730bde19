"""What a run explains: a list of its images, and each image's bytes and pixels. Nothing here imports Keras."""

from keras_explainable.distributed.sources.decoding import FITS as FITS
from keras_explainable.distributed.sources.decoding import decode as decode
from keras_explainable.distributed.sources.lists import listing as listing
from keras_explainable.distributed.sources.reading import read as read
from keras_explainable.distributed.sources.set_aside import SetAside as SetAside
