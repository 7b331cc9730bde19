"""Methods of gradients by the image."""

from keras_explainable.methods.fullgrad.full_gradients import full_gradients as full_gradients
from keras_explainable.methods.fullgrad.full_gradients import simple_full_gradients as simple_full_gradients
from keras_explainable.methods.gradient.blur_ig import blur_ig as blur_ig
from keras_explainable.methods.gradient.expected_gradients import expected_gradients as expected_gradients
from keras_explainable.methods.gradient.expected_gradients import gradient_shap as gradient_shap
from keras_explainable.methods.gradient.gradients import gradients as gradients
from keras_explainable.methods.gradient.gradients import input_x_gradient as input_x_gradient
from keras_explainable.methods.gradient.guided_backprop import deconvnet as deconvnet
from keras_explainable.methods.gradient.guided_backprop import guided_backprop as guided_backprop
from keras_explainable.methods.gradient.guided_ig import guided_ig as guided_ig
from keras_explainable.methods.gradient.integrated_gradients import integrated_gradients as integrated_gradients
from keras_explainable.methods.gradient.integrated_gradients import integrated_gradients_gap as integrated_gradients_gap
from keras_explainable.methods.gradient.smoothgrad import smoothgrad as smoothgrad
from keras_explainable.methods.gradient.smoothgrad import squaregrad as squaregrad
from keras_explainable.methods.gradient.smoothgrad import vargrad as vargrad
from keras_explainable.methods.gradient.xrai import xrai as xrai
