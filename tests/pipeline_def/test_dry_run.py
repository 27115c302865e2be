"""What `cifar run --dry-run` says, on the folder of two real runs."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components import trainer
from pipeline_def import code_version, dry_run, local_runner, nodes
from pipeline_def.batches import Batches
from pipeline_def.config import PipelineConfig, apply_settings, presets
from pipeline_def.pipeline import create_pipeline
from tests.finished_runs import cifar


@pytest.fixture(scope="module")
def config(output, pushed, refused) -> PipelineConfig:
    """The settings of the first run."""
    return dataclasses.replace(presets()["smoke"], data="sample", output_dir=str(output))


def plan(config: PipelineConfig) -> dict[str, str]:
    """Returns why each stage runs; what comes from the cache is left out."""
    return {s.name: s.why for s in local_runner.dry_run(config) if not s.cached}


def files(folder: Path) -> dict[Path, tuple[float, int]]:
    return {
        path: (path.stat().st_mtime, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_equal_run_is_all_cache_and_looking_changes_nothing(config, output):
    before = files(output)
    assert plan(config) == {}
    assert files(output) == before


def test_a_changed_setting_is_named_where_it_matters_and_what_follows_runs(config):
    changed = apply_settings(config, ["learning_rate=0.02"])
    why = plan(changed)
    assert why["Trainer"] == "learning_rate is 0.02, was 0.01"
    assert why["Evaluator"] == "Trainer and BaselineModel would produce new inputs"
    assert why.keys().isdisjoint({"CifarExampleGen", "StatisticsGen", "Transform"})


def test_a_training_that_is_known_goes_on_from_its_checkpoint(config):
    changed = apply_settings(config, ["log_every_steps=10"])  # shapes no weight
    assert plan(changed)["Trainer"] == "log_every_steps is 10, was 20; continues from step 60"


def test_a_training_goes_on_in_the_folder_of_the_values_that_a_search_found(tmp_path):
    config = dataclasses.replace(
        presets()["smoke"], tuned="learning_rate=0.01..0.1", output_dir=str(tmp_path)
    )
    batches = Batches("/data", "fingerprint")
    found = {"values": {"learning_rate": 0.02}}
    best = standard_artifacts.HyperParameters()
    best.uri = str(tmp_path)
    (tmp_path / "best_hyperparameters.txt").write_text(json.dumps(found))
    definition = create_pipeline(config, batches, "none")
    (node,) = (each for each in definition.components if each.id == "Trainer")
    told = json.loads(node.exec_properties["custom_config"])
    folder = Path(trainer.with_found_values(told, found["values"])["checkpoint_dir"])
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-40"\n')
    looked_at = dry_run.checkpoint_dir(config, batches, {"best_hyperparameters": [best]})
    assert dry_run.going_on(looked_at) == "; continues from step 40"


def test_edited_code_is_named(config, monkeypatch):
    def edited(*modules: str, **rest) -> str:
        is_edited = modules == ("components.example_validator",)
        return "edited" if is_edited else code_version.code_version(*modules, **rest)

    monkeypatch.setattr(nodes, "code_version", edited)
    why = plan(config)
    assert why["ExampleValidator"] == "its code changed"
    assert "Trainer" not in why


def test_a_damaged_artifact_is_named(config, output, tmp_path):
    shard, *_ = output.glob("pipeline/CifarExampleGen/examples/*/Split-eval/*")
    copy = shutil.copy(shard, tmp_path)
    shard.write_bytes(shard.read_bytes()[:-1])
    try:
        why = plan(config)
    finally:
        shutil.copy2(copy, shard)
    assert why["CifarExampleGen"].startswith(f"{shard} has ")
    assert why["Transform"] == "CifarExampleGen would produce new inputs"


def test_a_run_without_a_cache_runs_everything(config):
    assert set(plan(apply_settings(config, ["enable_cache=false"])).values()) == {
        "enable_cache is false"
    }


def test_batches_that_are_not_there_are_not_fetched(config, tmp_path):
    missing = dataclasses.replace(
        config, data="auto", data_dir=str(tmp_path / "data"), output_dir=str(tmp_path)
    )
    assert set(plan(missing).values()) == {"the batches would be fetched first"}
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_a_line_for_each_stage_and_makes_no_folder(tmp_path):
    output = tmp_path / "new"
    command = cifar("run", "--data", "sample", "--dry-run", "--output", str(output))
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "  CifarExampleGen    runs     it has not run in this folder yet"
    assert len(lines) == len(plan(dataclasses.replace(PipelineConfig(), data="sample",
        output_dir=str(output))))  # fmt: skip
    assert not output.exists()
