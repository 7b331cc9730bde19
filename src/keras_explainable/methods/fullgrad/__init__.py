"""FullGrad: the gradient with respect to the input and to every bias."""

from keras_explainable.methods.fullgrad.decomposition import Completeness as Completeness
from keras_explainable.methods.fullgrad.decomposition import completeness as completeness
from keras_explainable.methods.fullgrad.decomposition import decomposition as decomposition
from keras_explainable.methods.fullgrad.decomposition import implicit_completeness as implicit_completeness
from keras_explainable.methods.fullgrad.full_gradients import full_gradients as full_gradients
from keras_explainable.methods.fullgrad.full_gradients import simple_full_gradients as simple_full_gradients
from keras_explainable.methods.fullgrad.smooth_full_gradients import smooth_full_gradients as smooth_full_gradients
