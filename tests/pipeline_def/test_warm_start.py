"""Which weights a run starts from, and that they are part of what a training is."""

import dataclasses
import json
from pathlib import Path

import pytest

from components import trainer
from contract import records
from contract.data_facts import DataFacts
from contract.warm_start import WarmStart
from data_sources.dataset import read_sample
from pipeline_def import local_runner, warm_start
from pipeline_def.batches import Batches
from pipeline_def.config import PipelineConfig, apply_settings, find_preset
from pipeline_def.identity import serving_model_dir, training_fingerprint
from pipeline_def.pipeline import create_pipeline
from serving import model_registry
from serving.model_registry import Provenance

BATCHES = Batches("/data", "monday")
TUESDAY = Batches("/data", "tuesday")


@pytest.fixture
def config(tmp_path) -> PipelineConfig:
    smoke = dataclasses.replace(find_preset("smoke"), output_dir=str(tmp_path))
    return apply_settings(smoke, ["warm_start=latest"])


def push(config: PipelineConfig, number: int, batches: Batches, weights: bytes = b"w") -> Path:
    """Pushes what a training on these batches would have made, if it had trained."""
    folder = serving_model_dir(config) / str(number)
    (folder / "variables").mkdir(parents=True)
    (folder / "assets.extra").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(weights)
    start = batches.start
    provenance = Provenance(
        training_fingerprint=training_fingerprint(config, batches),
        checksums=model_registry.checksums(folder),
        start_version=start.version if start else "",
        start_weights=start.weights if start else "",
        data_facts=DataFacts({}, 0, ("cat", "dog")),
    )
    (folder / "assets.extra/pushed.json").write_text(records.to_json(provenance))
    return folder


def version_of(batches: Batches) -> str:
    assert batches.start is not None
    return batches.start.version


def test_a_warm_start_is_no_setting_of_a_cold_training(config):
    cold = apply_settings(config, ["warm_start=none"])
    assert warm_start.resolve(cold, BATCHES) is BATCHES
    nodes = {node.id: node for node in create_pipeline(cold, BATCHES, "none").components}
    assert "warm_start" not in json.loads(nodes["Trainer"].exec_properties["custom_config"])
    other_rate = apply_settings(cold, ["warm_start_learning_rate=0.5"])
    assert training_fingerprint(other_rate, BATCHES) == training_fingerprint(cold, BATCHES)


def test_without_a_version_training_starts_anew(config):
    first = warm_start.resolve(config, BATCHES)
    assert version_of(first) == "none"
    cold = apply_settings(config, ["warm_start=none"])
    assert training_fingerprint(config, first) == training_fingerprint(cold, BATCHES)


def test_each_day_starts_from_the_day_before_and_a_repeated_run_from_where_it_did(config):
    push(config, 1, warm_start.resolve(config, BATCHES))
    assert version_of(warm_start.resolve(config, BATCHES)) == "none"
    tuesday = warm_start.resolve(config, TUESDAY)
    assert version_of(tuesday) == "1"
    push(config, 2, tuesday, b"x")
    assert warm_start.resolve(config, TUESDAY) == tuesday
    longer = apply_settings(config, ["train_steps=61"])
    assert version_of(warm_start.resolve(longer, TUESDAY)) == "2"


def test_a_model_of_the_same_data_that_was_trained_cold_is_started_from(config):
    cold = apply_settings(config, ["warm_start=none"])
    push(cold, 1, warm_start.resolve(cold, BATCHES))
    assert version_of(warm_start.resolve(config, BATCHES)) == "1"


def test_the_weights_identify_a_start_not_their_number(config):
    push(config, 1, warm_start.resolve(config, BATCHES))
    push(config, 2, warm_start.resolve(config, BATCHES))  # as a rollback copies them
    push(config, 3, warm_start.resolve(config, BATCHES), b"others")
    fingerprints = [
        training_fingerprint(chosen, warm_start.resolve(chosen, TUESDAY))
        for chosen in (apply_settings(config, [f"warm_start={n}"]) for n in (1, 2, 3))
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert training_fingerprint(config, TUESDAY) not in fingerprints


def test_a_broken_version_is_skipped_by_latest_and_an_error_where_it_is_named(config):
    push(config, 1, warm_start.resolve(config, BATCHES))
    broken = push(config, 2, warm_start.resolve(config, TUESDAY))
    (broken / "variables/variables.index").write_bytes(b"cut")
    assert version_of(warm_start.resolve(config, Batches("/data", "c"))) == "1"
    data = read_sample()
    for number, fault in (
        ("2", "is broken"),
        ("3", "no such version.*only 1, 2"),
        ("1", "cat"),
    ):
        named = apply_settings(config, [f"warm_start={number}"])
        with pytest.raises((ValueError, FileNotFoundError), match=fault):
            local_runner.check_start(named, data)


@pytest.mark.parametrize("text", ["newest", "-1", "1.5", ""])
def test_the_setting_is_none_latest_or_a_number(config, text):
    with pytest.raises(ValueError, match="warm_start must be none, latest or the number"):
        apply_settings(config, [f"warm_start={text}"])


def test_a_search_does_not_start_warm(config):
    with pytest.raises(ValueError, match="tuned and warm_start cannot be combined"):
        apply_settings(config, ["tuned=learning_rate=0.01..0.1"])


def test_the_trainer_looks_for_the_version_when_nobody_has(config):
    start = WarmStart(str(serving_model_dir(config)), "latest")
    given = {"warm_start": dataclasses.asdict(start)}
    found = trainer.with_found_start(given)["warm_start"]
    assert (found["path"], found["fault"]) == ("", "nothing is served yet")
    folder = push(config, 5, BATCHES)
    found = trainer.with_found_start(given)["warm_start"]
    assert (found["version"], found["path"]) == ("5", str(folder))
    assert list(found["class_names"]) == ["cat", "dog"]
    assert trainer.with_found_start({}) == {}
