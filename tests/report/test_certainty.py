"""P-values, against their definition."""

from math import comb

import pytest

from report import certainty


def test_the_p_value_is_how_often_a_fair_coin_is_as_far_off():
    found = certainty.compare(only_baseline=9, only_candidate=2)
    tail = sum(comb(11, heads) for heads in (0, 1, 2)) / 2**11
    assert found.p_value == pytest.approx(2 * tail)


def test_models_that_never_differ_are_equal():
    assert certainty.compare(0, 0).p_value == 1.0


@pytest.mark.parametrize(
    ("only_baseline", "only_candidate", "words"),
    [
        (424, 412, "within noise"),
        (424, 330, "significantly worse"),
        (330, 424, "significantly better"),
    ],
)
def test_a_difference_is_called_what_it_is(only_baseline, only_candidate, words):
    text = certainty.in_words(certainty.compare(only_baseline, only_candidate))
    assert text.startswith(f"{words} ({only_candidate} images right that were wrong")
