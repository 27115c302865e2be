import dataclasses
import math

import pytest

from contract import checks


@dataclasses.dataclass(frozen=True)
class Settings:
    steps: int = 1
    drop: float = 0.5
    optimizer: str = "sgd"


def test_an_infinite_number_is_refused():
    checks.check_finite(Settings(drop=1e308))
    for value in (math.inf, -math.inf):
        with pytest.raises(ValueError, match=f"drop is a finite number, got {value}"):
            checks.check_finite(Settings(drop=value))


@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_a_number_that_is_not_above_0_is_refused(value):
    checks.check_positive(Settings(), ["steps", "drop"])
    with pytest.raises(ValueError, match=f"steps is above 0, got {value}"):
        checks.check_positive(Settings(steps=value), ["drop", "steps"])


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
def test_a_fraction_begins_at_0_and_ends_below_1(value):
    checks.check_fractions(Settings(drop=0.0), ["drop"])
    checks.check_fractions(Settings(drop=0.999), ["drop"])
    with pytest.raises(ValueError, match=f"drop is a fraction .*, got {value}"):
        checks.check_fractions(Settings(drop=value), ["drop"])


def test_fields_that_are_not_named_may_hold_anything():
    checks.check_positive(Settings(drop=-1.0), ["steps"])
    checks.check_fractions(Settings(steps=5), ["drop"])


def test_a_choice_that_is_none_is_told_those_there_are():
    choices = {"optimizer": ("sgd", "adam")}
    checks.check_choices(Settings(optimizer="adam"), choices)
    with pytest.raises(ValueError, match="optimizer is one of sgd, adam, got 'magic'"):
        checks.check_choices(Settings(optimizer="magic"), choices)
