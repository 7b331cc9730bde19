"""Evaluate methods on many images: metrics, baselines, and the statistics that compare them."""

from keras_explainable.evaluation.statistics import Comparison as Comparison
from keras_explainable.evaluation.statistics import compare as compare
