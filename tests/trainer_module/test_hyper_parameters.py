import dataclasses
import subprocess
import sys

import pytest

from contract import estimator
from trainer_module.hyper_parameters import PRESETS, REFERENCE, HyperParameters


def test_the_reference_preset_is_the_classic_recipe():
    assert (
        HyperParameters(
            train_steps=100_000,
            batch_size=128,
            optimizer="sgd",
            learning_rate=0.1,
            learning_rate_decay_factor=0.1,
            epochs_per_decay=350.0,
            decay_staircase=True,
            weight_decay=0.004,
            max_brightness_delta=63.0,
            min_contrast=0.2,
            max_contrast=1.8,
            ema_decay=0.9999,
            conv_stddev=1e-4,
            compute_dtype="float32",
        )
        == REFERENCE
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("train_steps", 0, "train_steps must be a whole number > 0"),
        ("learning_rate", float("nan"), "learning_rate must be a number > 0"),
        ("learning_rate", float("inf"), "learning_rate must be a number > 0, got inf"),
        ("ema_decay", 1.0, "ema_decay must be a number >= 0 and < 1"),
        ("muon_layers", "conv1+conv3", r"names of conv1\+conv2\+local3.*got 'conv1\+conv3'"),
        ("crop_shift", 1.5, "crop_shift must be a number >= 0 and <= 1"),
        ("label_smoothing", 1.0, "label_smoothing must be a number >= 0 and < 1"),
        ("compute_dtype", "float8", "compute_dtype must be one of auto, float32"),
        ("min_contrast", 2.0, "min_contrast must be at most max_contrast"),
        ("weight_decay", -1.0, "weight_decay must be a number >= 0"),
    ],
)
def test_a_value_outside_its_range_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(REFERENCE, **{field: value})


def test_what_only_watches_a_training_does_not_tell_it_from_another():
    settings = estimator.weight_settings(REFERENCE)
    assert {"train_steps", "seed", "compute_dtype", "weight_decay"} <= settings.keys()
    assert not {"log_every_steps", "log_device_placement"} & settings.keys()


def test_presets_are_read_without_tensorflow():
    script = (
        "import sys; from contract import estimator; print(*estimator.load().presets); "
        "assert 'tensorflow' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.split() == list(PRESETS), result.stderr
