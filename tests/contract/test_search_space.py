import dataclasses

import pytest

from contract import search_space
from contract.search_space import Choice, Range


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    steps: int = 10
    kind: str = "a"
    flip: bool = True

    def __post_init__(self) -> None:
        if self.rate > 1:
            raise ValueError("rate is at most 1")


def test_a_range_has_the_type_of_its_field():
    space = search_space.parse(["rate=0.01..0.2", "steps=8..1_000"], Settings())
    assert space == {"rate": Range(0.01, 0.2), "steps": Range(8, 1000)}
    assert isinstance(space["steps"].low, int)


def test_a_range_of_equal_decades_is_marked():
    assert search_space.parse(["rate=log:0.01..1"], Settings())["rate"].is_log


def test_a_list_has_the_values_of_its_field():
    space = search_space.parse(["kind=a,b,c", "flip=true,false", "steps=1,2"], Settings())
    assert space == {
        "kind": Choice(("a", "b", "c")),
        "flip": Choice((True, False)),
        "steps": Choice((1, 2)),
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("speed=1..2", "no such hyper-parameter to search. Available: flip, kind, rate, steps"),
        ("rate=0.5..2", "rate is at most 1"),
        ("rate=0.2..0.1", "rate must be a range from low to high, got '0.2..0.1'"),
        ("rate=0.1..", "rate must be a number"),
        ("rate=log:0..1", "a log range must start above 0"),
        ("rate=0.1,0.1", "two values or more"),
        ("kind=a..b", "kind is not a number"),
        ("steps=1.5..2.5", "steps must be a whole number"),
    ],
)
def test_what_cannot_be_searched_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        search_space.parse([setting], Settings())
