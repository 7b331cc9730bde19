"""Methods that propagate a score back through a network, layer by layer, with rules that replace gradients."""

from keras_explainable.methods.propagation import attnlrp as attnlrp
from keras_explainable.methods.propagation import composites as composites
from keras_explainable.methods.propagation import deeplift as deeplift
from keras_explainable.methods.propagation import excitation as excitation
from keras_explainable.methods.propagation import lrp as lrp
from keras_explainable.methods.propagation import rules as rules
