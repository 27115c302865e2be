import pytest

from contract.percentages import percent, points


@pytest.mark.parametrize(
    ("fraction", "beside", "text"),
    [
        (0.802, None, "80.2%"),
        (0.802, 0.7, "80.2%"),
        (0.6996, 0.7, "69.96%"),  # not "70.0%, required 70.0%"
        (0.7, 0.7, "70.0%"),
        (1, None, "100.0%"),
    ],
)
def test_a_fraction_has_one_digit_unless_it_would_hide_a_difference(fraction, beside, text):
    assert percent(fraction, beside) == text


def test_a_difference_is_in_percentage_points():
    assert points(0.0018) == "+0.2"
    assert points(-0.0101, -0.01) == "-1.01"
