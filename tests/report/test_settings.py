from pathlib import Path

import pytest

from pipeline_def.config import presets
from report import settings


def test_a_report_reads_its_settings_among_all_that_a_config_has():
    config = presets()["smoke"]
    found = settings.read(config.as_record())
    assert found.preset == "smoke"
    assert found.train_steps == config.hyper_parameters.train_steps
    assert found.min_accuracy == config.min_accuracy
    assert found.model_name == config.model_name


def test_an_old_record_that_does_not_say_has_the_defaults():
    assert settings.read({}) == settings.Settings()


def test_versions_are_below_the_output_folder_unless_another_is_set():
    found = settings.read({"output_dir": "/out", "model_name": "birds"})
    assert found.serving_model_dir == Path("/out/serving/birds")
    found = settings.read({"output_dir": "/out", "serving_dir": "/shared"})
    assert found.serving_model_dir == Path("/shared/cifar10")


def test_a_setting_of_another_type_is_named():
    with pytest.raises(ValueError, match="train_steps: Input should be a valid integer"):
        settings.read({"train_steps": "many"})
