"""Pictures of maps. Matplotlib and pillow are imported only where they are used."""

from keras_explainable.viz import contact_sheet as contact_sheet  # rows of pictures in an image file
from keras_explainable.viz import data_uris as data_uris  # pictures as text
from keras_explainable.viz import figure as figure  # images and maps in a matplotlib figure
from keras_explainable.viz import framing as framing  # images at a model's size: stretched, cropped, padded
from keras_explainable.viz import html_report as html_report  # one HTML file
from keras_explainable.viz import image as image  # arrays as pictures, maps over images
from keras_explainable.viz import image_files as image_files  # image files, read within limits
from keras_explainable.viz import notebook as notebook  # maps in the output of a cell
from keras_explainable.viz import output as output  # reads and writes files safely
from keras_explainable.viz import tables as tables  # tables for terminals
from keras_explainable.viz import viewer_files as viewer_files  # the viewer's scripts and styles
