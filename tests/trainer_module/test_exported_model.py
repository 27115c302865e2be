"""A training's output, checked against the contract: one message lists all faults."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from contract import exported_model
from contract.estimator import ContractError
from contract.exported_model import Training


@pytest.fixture
def training(trained_dir, examples_dir, tmp_path) -> Training:
    """A copy of our own run_fn's output, to be damaged."""
    for name in ("model", "model_run"):
        shutil.copytree(trained_dir / name, tmp_path / name)
    return Training(
        trainer_module="my_team.flowers",
        model_dir=str(tmp_path / "model/Format-Serving"),
        model_run_dir=str(tmp_path / "model_run"),
        eval_files=sorted(map(str, (examples_dir / "eval").iterdir())),
        num_classes=10,
        image_shape=(32, 32, 3),
    )


def violations_of(training: Training) -> list[str]:
    with pytest.raises(
        ContractError, match=r"model that my_team\.flowers exported to"
    ) as error:
        exported_model.check(training)
    return list(error.value.violations)


def change_signatures(training: Training, change) -> None:
    path = Path(training.model_dir, "saved_model.pb")
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(saved_model.meta_graphs[0].signature_def)
    path.write_bytes(saved_model.SerializeToString())


def write_predictions(training: Training, **arrays) -> None:
    path = Path(training.model_run_dir, "eval_predictions.npz")
    with np.load(path) as kept:
        arrays = {**kept, **arrays}
    np.savez(path, **arrays)


def test_what_our_own_run_fn_leaves_keeps_the_contract(training):
    exported_model.check(training)


def test_all_that_is_wrong_is_named_at_once(training):
    def change(signatures):
        del signatures["classify"]
        signatures["serving_default"].outputs["scores"].CopyFrom(
            signatures["serving_default"].outputs.pop("probabilities")
        )
        examples = signatures["predict_examples"]
        examples.outputs["class_ids"].dtype = 1  # float32
        examples.inputs["weight"].CopyFrom(examples.inputs["examples"])

    change_signatures(training, change)
    Path(training.model_run_dir, "training.json").unlink()
    write_predictions(training, keys=np.array([b"test_batch.bin:0"]))
    assert violations_of(training) == [
        f"training.json in {training.model_run_dir} records 0 steps on 0 examples: run_fn must "
        "write it with contract.training_record.write",
        "serving_default: output probabilities is missing; there are class_ids, classes, "
        "scores",
        "predict_examples: output class_ids is float32 [n], not int64 [n]",
        "predict_examples: input weight is superfluous; no client sends it",
        "the signature classify is missing; there are predict_examples, predict_image_bytes, "
        "serving_default",
        f"{training.model_run_dir}/eval_predictions.npz has 1 keys with probabilities of shape "
        "(20, 10), not (1, 10): run_fn must write `keys` and `probabilities` of some eval "
        "examples there",
    ]


def test_another_number_of_classes_or_size_of_images_is_named(training):
    other = dataclasses.replace(training, num_classes=9, image_shape=(48, 48, 3))
    found = violations_of(other)
    assert (
        "serving_default: input images is uint8 [n, 32, 32, 3], not uint8 [n, 48, 48, 3]"
        in found
    )
    assert "classify: output scores is float32 [n, 10], not float32 [n, 9]" in found


def test_answers_other_than_the_estimators_are_named_for_each_signature(training):
    with np.load(Path(training.model_run_dir, "eval_predictions.npz")) as kept:
        rolled = np.roll(kept["probabilities"], 1, axis=1)
    write_predictions(training, probabilities=rolled)
    found = violations_of(training)
    assert [line.partition(" ")[0] for line in found] == [
        "predict_examples", "serving_default", "predict_image_bytes", "classify"
    ]  # fmt: skip
    assert all("from the Estimator's; at most 1e-05 is allowed" in line for line in found)


def test_predictions_of_examples_that_are_not_there_are_named(training):
    write_predictions(training, keys=np.array([f"other.bin:{n}".encode() for n in range(20)]))
    (found,) = violations_of(training)
    assert "names b'other.bin:0', which is not an eval example" in found


def test_a_model_that_is_not_there_is_named(training):
    shutil.rmtree(training.model_dir)
    (found,) = violations_of(training)
    assert found.startswith(f"{training.model_dir}/saved_model.pb does not exist")
