"""Sources of images as batches, and checks of images and units."""

from keras_explainable.data.batches import AT_ONCE as AT_ONCE
from keras_explainable.data.batches import SOURCES as SOURCES
from keras_explainable.data.batches import Batches as Batches
from keras_explainable.data.batches import batches as batches
from keras_explainable.data.batches import several as several
from keras_explainable.data.checks import check_images as check_images
from keras_explainable.data.checks import is_count as is_count
from keras_explainable.data.checks import unit_array as unit_array
