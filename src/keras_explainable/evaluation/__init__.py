"""Evaluate methods on many images: metrics, baselines, and the statistics that compare them."""

from keras_explainable import metrics as _metrics  # noqa: F401  # first: it shows `check`  # isort: skip
from keras_explainable.evaluation.card import Trust as Trust
from keras_explainable.evaluation.evaluate import evaluate as evaluate
from keras_explainable.evaluation.evaluation import Evaluation as Evaluation
from keras_explainable.evaluation.trust import trust as trust
from keras_explainable.metrics.baselines import BASELINES as BASELINES
from keras_explainable.metrics.statistics import Comparison as Comparison
from keras_explainable.metrics.statistics import compare as compare
