"""The few things that Keras lacks, one module per framework with the same names and signatures; this file binds one.

- `compile(step, variables, jit_compile)`: `step` as a compiled function that reads the variables' present values.
- `jacobian(run, x, at, reduce, keep)`: gradients of each column of a score at chosen signals, in one forward pass, each
  given to `reduce(key, gradient, value)`, with the signal's value where it is to be kept; and the set of those signals
  to which a gradient goes at all.
- `evaluate(run, x)`: a forward pass that records nothing for differentiation.
- `reroute(inputs, output, rule, looks)`: `output`, as if made of `inputs` alone: a cotangent g that arrives there goes
  on to them as `rule(g, inputs, output)`, and nothing through what really made it. What is not named in `looks`
  ("inputs", "output") is not kept, and None for the rule.
- `stand_in(value)`: what can be one of those inputs in the place of a value that is not looked at.
- `vjp(function, x)`: `function(x)`, and the function that takes a cotangent there to one of x, once.
- `trace(run, shape, dtype)`: run on abstract (or, where there is none, blank) values, for what can be seen on the way.
- `by_image(function, values)`: a function of a batch that treats each image by itself, on few at once if that is
  faster.
- `order_statistics(values)`: of values that are not negative, the function from a rank (N, 1) to the value that has it
  along the last axis, rank 0 being the smallest.
- `at_once(x, most)`: how many images like those of `x` are computed together to be fastest, at most so many.
- `is_traced(value)`: whether a tensor is part of a program that is being built.
- `to_host(value)`: a NumPy array.
- `is_out_of_memory(error)`: whether an exception says that the device has too little memory.
- `marks(variables, model)`: a list that equals a later one of the same variables of a model where none was written to
  meanwhile, at a cost of their number and not of their size.
- `missing(error)`: what the framework lacks on this device, and how to have it, where an exception says so; else None.
"""

import importlib

from keras_explainable.backend.selection import SUPPORTED, choose
from keras_explainable.errors import BackendError

choose()

import keras  # noqa: E402  (only after the choice above)

from keras_explainable.backend.read_only import Onward as Onward  # noqa: E402
from keras_explainable.backend.read_only import read_only as read_only  # noqa: E402

name = keras.backend.backend()
if name not in SUPPORTED:
    raise BackendError(
        f"Keras runs on {name!r}, and keras-explainable on {', '.join(SUPPORTED)}: "
        "set KERAS_BACKEND before Keras is imported."
    )

_module = importlib.import_module(f"keras_explainable.backend.{name}")
compile = _module.compile
jacobian = _module.jacobian
evaluate = _module.evaluate
reroute = _module.reroute
stand_in = _module.stand_in
vjp = _module.vjp
trace = _module.trace
by_image = _module.by_image
order_statistics = _module.order_statistics
at_once = _module.at_once
is_traced = _module.is_traced
to_host = _module.to_host
is_out_of_memory = _module.is_out_of_memory
missing = _module.missing
marks = importlib.import_module(f"keras_explainable.backend.weights_{name}").marks
