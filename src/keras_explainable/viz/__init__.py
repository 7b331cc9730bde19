"""Pictures of maps. Matplotlib and pillow load where they are used."""

from keras_explainable.viz import figure as figure  # images and maps in a matplotlib figure
from keras_explainable.viz import files as files  # what is read and written, safely
from keras_explainable.viz import framing as framing  # images at a model's size: stretched, cropped, padded
from keras_explainable.viz import image as image  # arrays to colours, image files
from keras_explainable.viz import inline as inline  # pictures as text
from keras_explainable.viz import report as report  # one HTML file
from keras_explainable.viz import strip as strip  # a row of pictures in an image file
from keras_explainable.viz import text as text  # tables for terminals
