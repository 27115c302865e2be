"""The Trainer step: what an Estimator's run_fn leaves is checked before the step is done."""

import multiprocessing
import time

import filelock
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
        custom_config={
            "trainer_module": "idle_estimator",
            "checkpoint_dir": str(tmp_path / "checkpoints"),
        },
    )
    with pytest.raises(ContractError, match="idle_estimator exported to") as error:
        trainer.run_fn(fn_args)
    record, model, predictions = error.value.violations
    assert record.startswith("training.json in")
    assert model.startswith(f"{tmp_path}/model/saved_model.pb does not exist")
    assert predictions.startswith(f"{tmp_path}/model_run/eval_predictions.npz")


def use_alone(lock, seconds, entered, left):
    with trainer.sole_user(lock):
        entered.set()
        time.sleep(seconds)
        left.value = time.monotonic()


def test_runs_that_train_in_one_folder_take_turns(tmp_path, caplog):
    lock = tmp_path / "checkpoints/abc/.lock"
    context = multiprocessing.get_context("fork")
    entered, left = context.Event(), context.Value("d", 0.0)
    other = context.Process(target=use_alone, args=(lock, 0.5, entered, left))
    other.start()
    assert entered.wait(10)
    with trainer.sole_user(lock):
        assert 0 < left.value <= time.monotonic()
    other.join()
    assert f"it holds {lock}" in caplog.text


def test_a_killed_trainer_leaves_no_lock(tmp_path):
    lock = tmp_path / "checkpoints/abc/.lock"
    context = multiprocessing.get_context("fork")
    entered, left = context.Event(), context.Value("d", 0.0)
    killed = context.Process(target=use_alone, args=(lock, 60, entered, left))
    killed.start()
    assert entered.wait(10)
    killed.kill()
    killed.join()
    with filelock.FileLock(lock, timeout=0):
        pass
