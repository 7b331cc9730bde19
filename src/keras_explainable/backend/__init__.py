"""What Keras lacks. One module per framework provides the same names and signatures; this file selects one.

- `compile(step, variables, jit_compile, spread)`: compile `step` into a function that reads the variables' current
  values, or those of an enclosing `read_only` scope. With `spread`, the images may be split over several devices.
- `jacobian(run, x, at, reduce, keep)`: compute the gradient of each column of a score at the signals `at`, in one
  forward pass. Each gradient is passed to `reduce(key, gradient, value)`; `value` is the signal if `keep`. `keep` may
  name further signals. Also returns the set of signals that a gradient reaches.
- `evaluate(run, x)`: run a forward pass that records nothing for differentiation. Return the scores and the signals
  that the tap saw.
- `resumed(run, x, key)`: run a forward pass. Return the scores, the signal at `key` in a dictionary (empty if the run
  does not pass through it), and a function that maps another signal to the scores with that signal in its place. The
  function computes only what depends on the signal, and may write to its argument.
- `mapped(function, numbers)`: the values (N, P, ...) of a function of a number, for a row of the numbers (N, P) at a
  time. Within a row, what does not depend on the number is computed once. Both raise if the framework cannot do this.
- `reroute(inputs, output, rule, keeps)`: return `output` as if it were computed from `inputs` alone. A cotangent g that
  arrives at it is sent to the inputs as `rule(g, inputs, output)`; nothing flows through the computation that really
  made it. What `keeps` does not name ("inputs", "output") is not kept, and the rule gets None for it.
- `stand_in(value)`: return what can replace a value in those inputs if the rule does not look at it.
- `vjp(function, x)`: return `function(x)`, and a function that maps a cotangent of it to a cotangent of x. Call that
  function once only.
- `trace(run, shape, dtype)`: run on abstract values (blank ones on PyTorch) to record what happens on the way.
- `by_image(function, values)`: apply a function that treats each image by itself. It runs on a few images at a time if
  that is faster.
- `order_statistics(values)`: for non-negative values, return a function from a rank (N, 1) to the value of that rank
  along the last axis. Rank 0 is the smallest.
- `at_once(x, most)`: return how many images like those in `x`, at most `most`, are fastest to compute together.
- `is_traced(value)`: whether a tensor belongs to a program that is being built.
- `to_host(value)`: return a NumPy array.
- `is_out_of_memory(error)`: whether an exception says that the device ran out of memory.
- `marks(variables, model)`: return a list that equals a later one for the same variables of a model if none of them was
  written to in between. The cost depends on the number of variables, not on their size.
- `missing(error)`: if an exception says that the framework lacks a feature on this device, say which, and how to get
  it; else None."""

import importlib

from keras_explainable.errors import BackendError
from keras_explainable.runtime.selection import SUPPORTED, choose

choose()

import keras  # noqa: E402  (must follow the choice above)

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
_tails = importlib.import_module(f"keras_explainable.backend.tails_{name}")
resumed = _tails.resumed
mapped = _tails.mapped
