import dataclasses
from collections.abc import Mapping, Sequence

import pytest

from contract import records


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5


@dataclasses.dataclass(frozen=True)
class Line:
    name: str
    points: Sequence[Point] = ()
    by_name: Mapping[str, Point] = dataclasses.field(default_factory=dict)


LINE = Line("l", [Point(1, 2.0), Point(2)], {"first": Point(1, 2.0)})


def test_what_is_written_is_read():
    assert records.from_json(Line, records.to_json(LINE)) == LINE


def test_missing_fields_have_defaults_and_unknown_ones_are_left_out():
    text = '{"name": "l", "colour": "red", "points": [{"x": 1, "z": 3}]}'
    assert records.from_json(Line, text) == Line("l", [Point(1)])
    assert records.from_fields(Point, {"x": 3, "z": 4}) == Point(3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Invalid JSON: EOF while parsing"),
        ('{"name": ', "Invalid JSON: EOF while parsing"),
        ("[]", "should be an object"),
        ("{}", "name: Field required"),
        (
            '{"name": "l", "points": [{"x": "one"}]}',
            r"points\.0\.x: Input should be",
        ),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(text, said):
    with pytest.raises(ValueError, match=said) as refusal:
        records.from_json(Line, text)
    assert "\n" not in str(refusal.value)
