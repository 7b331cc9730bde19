"""Names and tables in words."""

from keras_explainable.viz.tables import listed
from support.selection import fast_on_torch

pytestmark = fast_on_torch


def test_names_in_a_sentence():
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefg")) == "a, b, c, d, e, f and g"
    assert listed(list("abcdefg"), 5) == "a, b, c, d and 3 others" and listed(list("abcde"), 5) == "a, b, c, d and e"
