"""`cifar bench`: how its options reach a benchmark."""

import types

import pytest
from click.testing import CliRunner

from cli import bench
from cli.main import main


def test_lists_are_parsed_to_the_type_of_their_values(monkeypatch):
    given = {}

    def measure(json_output: bool, presets=(), seeds=(), scale=()) -> int:
        given.update(presets=presets, seeds=seeds, scale=scale)
        return 0

    benchmark = types.SimpleNamespace(main=measure)
    monkeypatch.setattr(bench.importlib, "import_module", lambda _: benchmark)
    arguments = ["bench", "accuracy", "--presets", "quick,best", "--seeds", "0,1"]
    assert CliRunner().invoke(main, [*arguments, "--scale", "10"]).exit_code == 0
    assert given == {"presets": ["quick", "best"], "seeds": [0, 1], "scale": [10]}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["accuracy", "--seeds", "0,x"], "'x' is not a valid integer"),
        (["pipeline", "--scale", "1,0"], "0 is not in the range x>=1"),
        (["serving", "--seeds", "0"], "takes no --seeds"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_is_measured(arguments, error):
    result = CliRunner().invoke(main, ["bench", *arguments])
    assert result.exit_code == 2
    assert error in result.output
