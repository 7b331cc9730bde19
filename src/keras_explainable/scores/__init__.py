"""Ready-made functions for `score=`: what to explain instead of a model's units. Each maps the model's outputs to
(batch, K) scores.

Each function here returns a `Score`. Equal arguments give equal scores, so a method is compiled once for them; array
arguments are part of the compiled program. A score with several columns gives one map for each column, or with `y` one
for each chosen column. `score=ke.scores.region(masks, unit), y=np.arange(len(masks))` explains image i for mask i,
however the images are batched.

`unit`, `top_k`, `margin`, `negated`, `binary` and `region` are scores of units. They take the values that methods
explain without `score`: those before the model's last softmax or sigmoid. `output` does so too, unless its own score
takes an output as it is. All others take the model's outputs as they are."""

from keras_explainable.numerics.arrays import Array as Array
from keras_explainable.scores.boxes import box as box
from keras_explainable.scores.boxes import detection as detection
from keras_explainable.scores.instances import instance as instance
from keras_explainable.scores.maps import depth as depth
from keras_explainable.scores.outputs import output as output
from keras_explainable.scores.outputs import similarity as similarity
from keras_explainable.scores.outputs import value as value
from keras_explainable.scores.score import Chosen as Chosen
from keras_explainable.scores.score import Labels as Labels
from keras_explainable.scores.score import Score as Score
from keras_explainable.scores.units import binary as binary
from keras_explainable.scores.units import margin as margin
from keras_explainable.scores.units import negated as negated
from keras_explainable.scores.units import region as region
from keras_explainable.scores.units import top_k as top_k
from keras_explainable.scores.units import unit as unit
