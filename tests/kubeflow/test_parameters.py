"""The parameters of a run on Kubeflow, and the config they lead to."""

import re

import pytest

from data_sources.batch_files import OFFICIAL, fingerprint_of
from kubeflow.parameters import RunParameters, batches_of, config_of


def test_the_config_of_a_run_is_its_preset_with_what_it_was_told():
    parameters = RunParameters(
        preset="smoke", train_steps=5, data="/mnt/batches", push_destination="/srv"
    )
    config = config_of(parameters, ["batch_size=8"])
    assert config.preset == "smoke"
    hyper_parameters = config.hyper_parameters
    assert (hyper_parameters.train_steps, hyper_parameters.batch_size) == (5, 8)
    assert (batches_of(parameters).directory, config.serving_dir) == ("/mnt/batches", "/srv")
    assert batches_of(parameters).fingerprint == fingerprint_of(OFFICIAL.checksums)
    assert config_of(RunParameters(preset="smoke"), []).hyper_parameters.train_steps == 60


def test_a_preset_is_one_of_the_trainer_modules():
    with pytest.raises(ValueError, match=r"preset must be one of smoke, .* of trainer_module"):
        config_of(RunParameters(preset="tiny"), [])
    assert config_of(RunParameters(), []).preset == "quick"


WRONG_PARAMETERS = {
    "train_steps": (-1, "train_steps must be positive"),
    "data": ("s3://bucket/batches", "no object-store"),
    "push_destination": ("serving", "a folder mounted"),
}


@pytest.mark.parametrize("name", WRONG_PARAMETERS)
def test_a_wrong_parameter_is_named(name):
    value, expected = WRONG_PARAMETERS[name]
    with pytest.raises(ValueError, match=re.escape(expected)):
        RunParameters(**{name: value})
