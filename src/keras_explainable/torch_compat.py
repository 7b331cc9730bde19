"""The functions and classes of this library that the package `saliency` uses."""

from keras_explainable.data.checks import unit_array as unit_array
from keras_explainable.explaining.checks import check as check
from keras_explainable.methods.cams.weighting import weighted as weighted
from keras_explainable.methods.fullgrad.decomposition import Completeness as Completeness
from keras_explainable.methods.fullgrad.decomposition import decomposition as decomposition
from keras_explainable.models import INPUT as INPUT
from keras_explainable.models import Point as Point
from keras_explainable.models import View as View
from keras_explainable.models import view as view
from keras_explainable.models.spatial import spatial_calls as spatial_calls
from keras_explainable.models.torch.layer_math import CONVOLUTIONS as CONVOLUTIONS
from keras_explainable.numerics.random import normal as normal
from keras_explainable.numerics.resize import resize as resize
