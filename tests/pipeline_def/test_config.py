import dataclasses

import pytest

from pipeline_def.config import PipelineConfig, apply_settings, presets

REFERENCE = presets()["reference"]


def test_settings_take_the_type_of_their_field():
    config = apply_settings(
        REFERENCE,
        ["train_steps=20_000", "learning_rate=3e-2", "decay_staircase=false", "data=x=y"],
    )
    hyper_parameters = config.hyper_parameters
    assert (hyper_parameters.train_steps, hyper_parameters.learning_rate) == (20_000, 0.03)
    assert hyper_parameters.decay_staircase is False
    assert config.data == "x=y"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train_step=3", "no such field. Did you mean train_steps?.*cifar config"),
        ("preset=best", "no such field"),
        ("hyper_parameters=x", "no such field"),
        ("train_steps=many", "train_steps must be a whole number, got 'many'"),
        ("train_steps=1.5", "train_steps must be a whole number"),
        ("learning_rate=fast", "learning_rate must be a number"),
        ("decay_staircase=1", "decay_staircase must be true or false"),
        ("train_steps", "write field=value"),
        ("train_steps=0", "train_steps must be a whole number > 0"),
        ("min_accuracy=1", "min_accuracy must be a number >= 0 and < 1"),
        ("learning_rate=inf", "learning_rate must be a number > 0, got inf"),
        ("keep_versions=0", "keep_versions must be a whole number > 0"),
        ("model_name=../up", "model_name"),
    ],
)
def test_a_wrong_setting_says_what_was_expected(setting, message):
    with pytest.raises(ValueError, match=message):
        apply_settings(REFERENCE, [setting])


def test_presets_differ_in_hyper_parameters_and_in_what_the_gate_asks_for():
    assert {name: config.preset for name, config in presets().items()} == {
        name: name for name in ("smoke", "quick", "best", "reference")
    }
    accuracies = {name: config.min_accuracy for name, config in presets().items()}
    assert accuracies == {"smoke": 0.0, "quick": 0.70, "best": 0.82, "reference": 0.80}
    assert presets()["quick"].hyper_parameters.train_steps == 2_600
    assert PipelineConfig() == REFERENCE


def test_neither_record_nor_text_of_a_config_holds_the_password():
    config = dataclasses.replace(REFERENCE, metadata_url="mysql://tfx:s3cret@db/mlmd")
    assert config.as_record()["metadata_url"] == "mysql://tfx:…@db/mlmd"
    assert "s3cret" not in f"{config}{config.as_record()}"


def test_a_password_is_no_setting():
    with pytest.raises(ValueError, match=r"CIFAR_METADATA_URL, or .*--metadata-url-file") as it:
        apply_settings(REFERENCE, ["metadata_url=mysql://tfx:s3cret@db/mlmd"])
    assert "s3cret" not in str(it.value)
    config = apply_settings(REFERENCE, ["metadata_url=mysql://tfx@db/mlmd"])
    assert config.metadata_url == "mysql://tfx@db/mlmd"


def test_a_record_holds_every_field_once():
    record = REFERENCE.as_record()
    assert (record["seed"], record["keep_versions"]) == (0, 3)
    assert "hyper_parameters" not in record


def test_an_image_size_that_the_network_cannot_take_is_refused(tmp_path, monkeypatch):
    (tmp_path / "willow_estimator.py").write_text(
        "import dataclasses\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class HyperParameters:\n"
        "    train_steps: int = 3\n"
        'PRESETS = {"quick": HyperParameters()}\n'
        "IMAGE_SIZES = (48, 64)\n"
        "def run_fn(fn_args): pass\n"
        "def preprocessing_fn(inputs): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = presets("willow_estimator")["quick"]
    assert apply_settings(config, ["image_size=64"]).image_size == 64
    with pytest.raises(ValueError, match="cannot train on images of 32 pixels; set image_size"):
        apply_settings(config, [])
