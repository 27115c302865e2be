"""Settings as a dataclass states them: type, range, choices and the comment as help."""

import dataclasses
from typing import Annotated, Literal

import pytest

from contract import settings


@dataclasses.dataclass(frozen=True)
class Base:
    seed: int = 0  # of all draws


@dataclasses.dataclass(frozen=True)
class Oven(Base):
    # How hot.
    degrees: Annotated[float, "> 0", "<= 300"] = 180.0  # Celsius, in the middle

    # whatever stands above
    # a field, on lines of its own
    mode: Literal["fan", "grill"] = "fan"
    preheat: bool = True
    shelf: Annotated[int, ">= 1"] = dataclasses.field(  # from below
        default=2
    )
    name: str = ""


def test_a_setting_has_the_comment_beside_or_above_it_as_its_help():
    helps = {name: setting.help for name, setting in settings.of(Oven).items()}
    assert helps == {
        "seed": "of all draws",
        "degrees": "Celsius, in the middle",
        "mode": "whatever stands above a field, on lines of its own",
        "preheat": "",
        "shelf": "from below",
        "name": "",
    }


def test_a_setting_says_what_its_values_are():
    words = {name: setting.in_words for name, setting in settings.of(Oven).items()}
    assert words == {
        "seed": "a whole number",
        "degrees": "a number > 0 and <= 300",
        "mode": "one of fan, grill",
        "preheat": "true or false",
        "shelf": "a whole number >= 1",
        "name": "a string",
    }


def test_every_value_outside_its_range_is_named_at_once():
    oven = Oven(degrees=float("nan"), mode="steam", shelf=0, preheat=1)
    with pytest.raises(ValueError) as error:
        settings.check(oven)
    assert str(error.value).splitlines() == [
        "degrees must be a number > 0 and <= 300, got nan.",
        "mode must be one of fan, grill, got 'steam'.",
        "preheat must be true or false, got 1.",
        "shelf must be a whole number >= 1, got 0.",
    ]
    settings.check(Oven(degrees=200))  # a whole number is a number


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (list[int], "field is of type list"),
        (Literal[1, 2], "a Literal of strings"),
        (Annotated[int, "about 3"], "field has the range 'about 3'"),
    ],
)
def test_a_field_that_nobody_can_set_is_named(kind, message):
    made = dataclasses.make_dataclass("Made", [("field", kind, None)])
    with pytest.raises(TypeError, match=message):
        settings.of(made)
