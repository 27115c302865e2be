import dataclasses

import pytest

from pipeline_def.config import PRESETS, REFERENCE, PipelineConfig, apply_settings


def test_settings_take_the_type_of_their_field():
    config = apply_settings(
        REFERENCE,
        ["train_steps=20_000", "learning_rate=3e-2", "decay_staircase=false", "data=x=y"],
    )
    assert (config.train_steps, config.learning_rate) == (20_000, 0.03)
    assert config.decay_staircase is False
    assert config.data == "x=y"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train_step=3", "no such field.*train_steps"),
        ("preset=best", "no such field"),
        ("train_steps=many", "train_steps is a whole number, got 'many'"),
        ("train_steps=1.5", "train_steps is a whole number"),
        ("learning_rate=fast", "learning_rate is a number"),
        ("decay_staircase=1", "decay_staircase is true or false"),
        ("train_steps", "write field=value"),
        ("train_steps=0", "train_steps is above 0"),
        ("min_accuracy=1", "min_accuracy is a fraction"),
        ("learning_rate=nan", "learning_rate is above 0"),
        ("learning_rate=inf", "learning_rate is a finite number"),
        ("compute_dtype=float8", "compute_dtype is one of float32"),
        ("min_contrast=2", "min_contrast is 0 or more and at most max_contrast"),
        ("model_name=../up", "model_name"),
    ],
)
def test_a_wrong_setting_says_what_was_expected(setting, message):
    with pytest.raises(ValueError, match=message):
        apply_settings(REFERENCE, [setting])


def test_reference_preset_is_the_classic_recipe():
    config = PRESETS["reference"]
    assert (config.batch_size, config.optimizer, config.compute_dtype) == (
        128,
        "sgd",
        "float32",
    )
    assert (config.learning_rate, config.learning_rate_decay_factor) == (0.1, 0.1)
    assert (config.epochs_per_decay, config.decay_staircase) == (350.0, True)
    assert (config.ema_decay, config.weight_decay, config.conv_stddev) == (0.9999, 0.004, 1e-4)
    assert (config.max_brightness_delta, config.min_contrast, config.max_contrast) == (
        63,
        0.2,
        1.8,
    )


def test_training_fields_leave_out_what_does_not_change_the_weights():
    fields = PipelineConfig().training_fields()
    assert {"train_steps", "seed", "compute_dtype", "weight_decay"} <= fields.keys()
    assert not {"min_accuracy", "output_dir", "log_every_steps", "data_dir"} & fields.keys()


def test_presets_are_named_after_themselves():
    assert {name: config.preset for name, config in PRESETS.items()} == {
        name: name for name in PRESETS
    }
    for config in PRESETS.values():
        assert dataclasses.replace(config) == config  # checked again, and valid


def test_neither_record_nor_text_of_a_config_holds_the_password():
    config = dataclasses.replace(REFERENCE, metadata_url="mysql://tfx:s3cret@db/mlmd")
    assert config.as_record()["metadata_url"] == "mysql://tfx:…@db/mlmd"
    assert config.as_record()["seed"] == config.seed
    assert "s3cret" not in f"{config}{config.as_record()}"


def test_a_password_is_no_setting():
    with pytest.raises(ValueError, match=r"CIFAR_METADATA_URL, or .*--metadata-url-file") as it:
        apply_settings(REFERENCE, ["metadata_url=mysql://tfx:s3cret@db/mlmd"])
    assert "s3cret" not in str(it.value)
    config = apply_settings(REFERENCE, ["metadata_url=mysql://tfx@db/mlmd"])
    assert config.metadata_url == "mysql://tfx@db/mlmd"
