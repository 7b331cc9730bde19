"""Methods that change the image and look at the score."""

from keras_explainable.methods.perturbation.hsic import hsic as hsic
from keras_explainable.methods.perturbation.kernel_shap import kernel_shap as kernel_shap
from keras_explainable.methods.perturbation.lime import lime as lime
from keras_explainable.methods.perturbation.occlusion import occlusion as occlusion
from keras_explainable.methods.perturbation.rise import rise as rise
from keras_explainable.methods.perturbation.sobol import sobol as sobol
