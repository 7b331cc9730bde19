"""Meta methods: each function takes a method and returns a method, so they can be nested."""

from keras_explainable.methods.meta.contrast import Contrast as Contrast
from keras_explainable.methods.meta.contrast import contrast as contrast
from keras_explainable.methods.meta.ensemble import ensemble as ensemble
from keras_explainable.methods.meta.integrate import integrate as integrate
from keras_explainable.methods.meta.smooth import smooth as smooth
from keras_explainable.methods.meta.tta import tta as tta
