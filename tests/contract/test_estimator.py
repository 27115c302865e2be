import dataclasses

import pytest

from contract import estimator

SOURCE = """
import dataclasses

@dataclasses.dataclass(frozen=True)
class HyperParameters:
    trees: int = 10
    verbose: bool = dataclasses.field(default=False, metadata={"shapes_weights": False})

PRESETS = {"forest": HyperParameters()}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "forest_estimator"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "hyper_parameters.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_trainer_module_is_found_by_its_path(package):
    found = estimator.load("forest_estimator")
    assert found.run_module == "forest_estimator.run"
    assert found.preprocessing_module == "forest_estimator.preprocessing"
    assert dataclasses.asdict(found.presets["forest"]) == {"trees": 10, "verbose": False}
    assert estimator.weight_settings(found.presets["forest"]) == {"trees": 10}


def test_every_edit_trains_anew_unless_the_module_says_what_shapes_weights(package):
    assert estimator.load("forest_estimator").weight_modules == ("forest_estimator.run",)
    assert "trainer_module.model" in estimator.load().weight_modules


def test_a_trainer_module_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match="absent_estimator"):
        estimator.load("absent_estimator")
