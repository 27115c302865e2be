"""The Trainer step: what an Estimator's run_fn leaves is checked before the step is done."""

import pytest
from tfx.components.trainer.fn_args_utils import FnArgs

from components import trainer
from contract import image_set
from contract.estimator import ContractError
from contract.image_set import ImageSet

IDLE = """
import dataclasses

@dataclasses.dataclass(frozen=True)
class HyperParameters:
    train_steps: int = 1

PRESETS = {"quick": HyperParameters()}

def run_fn(fn_args):
    pass

def preprocessing_fn(inputs):
    return inputs
"""


def test_a_run_fn_that_leaves_nothing_fails_the_step_with_all_that_is_missing(
    tmp_path, monkeypatch
):
    (tmp_path / "idle_estimator.py").write_text(IDLE)
    monkeypatch.syspath_prepend(tmp_path)
    image_set.write(str(tmp_path), ImageSet(("cat", "dog"), 32))
    (tmp_path / "examples").write_bytes(b"")
    fn_args = FnArgs(
        eval_files=[str(tmp_path / "examples")],
        schema_path=str(tmp_path / image_set.SCHEMA_FILE),
        serving_model_dir=str(tmp_path / "model"),
        model_run_dir=str(tmp_path / "model_run"),
        custom_config={"trainer_module": "idle_estimator"},
    )
    with pytest.raises(ContractError, match="idle_estimator exported to") as error:
        trainer.run_fn(fn_args)
    record, model, predictions = error.value.violations
    assert record.startswith("training.json in")
    assert model.startswith(f"{tmp_path}/model/saved_model.pb does not exist")
    assert predictions.startswith(f"{tmp_path}/model_run/eval_predictions.npz")
