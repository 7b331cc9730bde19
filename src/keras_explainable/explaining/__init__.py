"""`explain`: run a method on images, from checking the arguments to the results."""

from keras_explainable.explaining.explain import explain as explain
from keras_explainable.explaining.explain import partial_explain as partial_explain
from keras_explainable.explaining.results import Explanation as Explanation
