"""What distinguishes trainings and nodes: the code of the Estimator, ours or another."""

import dataclasses

import pytest

from pipeline_def.batches import Batches
from pipeline_def.config import find_preset
from pipeline_def.identity import study_dir, training_fingerprint
from pipeline_def.pipeline import create_pipeline

BATCHES = Batches("/data", "abc")
ELM = """
import dataclasses
from elm_tools import RATE
from trainer_module.preprocessing import preprocessing_fn
from trainer_module.run import run_fn

@dataclasses.dataclass(frozen=True)
class HyperParameters:
    train_steps: int = 3
    verbose: bool = dataclasses.field(default=False, metadata={"shapes_weights": False})

PRESETS = {"spring": HyperParameters()}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The settings of a trainer module in its own folder, with its imports."""
    (tmp_path / "elm_estimator.py").write_text(ELM)
    (tmp_path / "elm_tools.py").write_text("RATE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return find_preset(trainer_module="elm_estimator")


PINE = {
    "__init__": "",
    "run": "from . import hyper_parameters\n\ndef run_fn(fn_args): ...\n",
    "preprocessing": "def preprocessing_fn(inputs): ...\n",
    "hyper_parameters": """
import dataclasses

@dataclasses.dataclass(frozen=True)
class HyperParameters:
    train_steps: int = 3

    @property
    def warmup_steps(self):
        return self.train_steps // 3

PRESETS = {"spring": HyperParameters()}
""",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a trainer module in parts, whose settings compute something."""
    folder = tmp_path / "pine_estimator"
    folder.mkdir()
    for name, source in PINE.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_an_edit_of_any_part_of_a_package_trains_anew(package):
    config = find_preset(trainer_module=package.name)
    for file, before, after, node in (
        ("hyper_parameters.py", "steps // 3", "steps // 2", "Trainer"),
        ("preprocessing.py", "...", "return inputs", "Transform"),
    ):
        versions, trained = code_versions(config), training_fingerprint(config, BATCHES)
        source = (package / file).read_text()
        (package / file).write_text(source.replace(before, after))
        edited = code_versions(config)
        assert {name for name in versions if versions[name] != edited[name]} == {node}
        assert training_fingerprint(config, BATCHES) != trained


def code_versions(config) -> dict[str, str]:
    nodes = create_pipeline(config, BATCHES, "none").components
    return {node.id: node.exec_properties.get("code_version", "") for node in nodes}


def test_an_edit_of_what_an_estimator_imports_runs_its_nodes_and_trains_anew(config, tmp_path):
    before, trained_before = code_versions(config), training_fingerprint(config, BATCHES)
    (tmp_path / "elm_tools.py").write_text("RATE = 2\n")
    after = code_versions(config)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"Transform", "Trainer"}  # one module holds the functions of both
    assert training_fingerprint(config, BATCHES) != trained_before


def test_only_settings_that_shape_the_weights_train_anew(config):
    def fingerprint(**changes):
        changed = dataclasses.replace(config.hyper_parameters, **changes)
        return training_fingerprint(
            dataclasses.replace(config, hyper_parameters=changed), BATCHES
        )

    assert fingerprint(verbose=True) == fingerprint()
    assert fingerprint(train_steps=4) != fingerprint()


def test_more_trials_continue_a_search_and_train_anew(config):
    few, many = (
        dataclasses.replace(config, tuned="train_steps=2,3", tuning_trials=trials)
        for trials in (20, 40)
    )
    assert study_dir(few, BATCHES) == study_dir(many, BATCHES)
    fingerprints = {training_fingerprint(one, BATCHES) for one in (config, few, many)}
    assert len(fingerprints) == 3


def test_the_estimator_of_a_run_is_on_record(config):
    assert config.as_record()["trainer_module"] == "elm_estimator"
    assert config.as_record()["train_steps"] == 3
