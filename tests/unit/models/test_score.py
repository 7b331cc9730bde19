"""What is known about a score is read in one place, also of a function that is none of ours."""

import pytest

import keras_explainable as ke
from keras_explainable.models.score import UNITS, ScoreTraits, chooses, chosen_of, score_traits

unit, top = ke.scores.unit([3, 1]), ke.scores.top_k(2)


def plain(outputs):
    return outputs


class Layer:
    """A callable with attributes that mean something else, as those of a layer or module."""

    units, which, channels = 10, "first", 3

    def linear(self, outputs):
        return outputs

    __call__ = linear


class Logits:
    before_activation = linear = True

    def __call__(self, outputs):
        return outputs


class Mine:
    """A user's own choice of units."""

    choose = __call__ = plain


@pytest.mark.parametrize(
    ("score", "traits"),
    [
        (None, UNITS),
        (plain, ScoreTraits()),
        (Layer(), ScoreTraits()),
        (Logits(), ScoreTraits(before_activation=True, linear=True)),
    ],
)
def test_traits_of_what_is_none_of_ours(score, traits):
    assert score_traits(score) == traits


def test_traits_of_our_scores_are_their_fields():
    assert score_traits(unit) is unit and unit.units == (3, 1) and unit.linear and unit.before_activation
    named = ke.scores.output("boxes", ke.scores.negated(unit))
    assert (named.which, named.before_activation, named.units) == (("boxes",), True, None)
    assert not ke.scores.margin(1).linear and ke.scores.margin(1, 2).linear and ke.scores.negated().linear
    assert not ke.scores.output(1, plain).before_activation and ke.scores.output(1).before_activation


def test_what_chooses_units():
    assert chooses(top) and chooses(Mine()) and not any(map(chooses, (unit, plain, None, [1, 2])))
    assert top.count == 2 and chosen_of(top) is None and chosen_of(Mine()) is None
    assert chosen_of(ke.scores.output(1, top)) == ke.scores.output(1)
