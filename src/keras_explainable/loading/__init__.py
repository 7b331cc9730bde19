"""Load models by name or file, and prepare images for them: the demo, `keras.applications`, Keras and PyTorch files."""

from keras_explainable.loading.applications import applications as applications
from keras_explainable.loading.load import BATCH as BATCH
from keras_explainable.loading.load import DEMO as DEMO
from keras_explainable.loading.load import FACTORY as FACTORY
from keras_explainable.loading.load import TORCH_FILES as TORCH_FILES
from keras_explainable.loading.load import load as load
from keras_explainable.loading.load import probabilities as probabilities
from keras_explainable.loading.load import scores as scores
from keras_explainable.loading.load import unit_scores as unit_scores
from keras_explainable.loading.preprocessing import SCALES as SCALES
from keras_explainable.loading.preprocessing import SIDE as SIDE
from keras_explainable.loading.preprocessing import Loaded as Loaded
from keras_explainable.loading.preprocessing import Preprocess as Preprocess
from keras_explainable.loading.preprocessing import with_preprocessing as with_preprocessing
