"""What a compute dtype costs in accuracy, on all of CIFAR-10."""

import dataclasses
from pathlib import Path

import pytest
from tfx.components.trainer.fn_args_utils import FnArgs

from benchmarks import training_parts
from contract import features, training_record
from data_sources import dataset
from pipeline_def.config import PipelineConfig
from trainer_module import run
from trainer_module.hyper_parameters import QUICK, HyperParameters

STEPS = 1_000


@pytest.fixture(scope="module")
def examples_dir(tmp_path_factory):
    found = dataset.locate("auto", Path(PipelineConfig().data_dir))
    if found.source == "sample":
        pytest.skip("CIFAR-10 cannot be fetched from here")
    folder = tmp_path_factory.mktemp("cifar10")
    training_parts.prepare(str(found.directory), str(folder))
    return folder


def accuracy_of(hyper_parameters: HyperParameters, examples_dir: Path, output: Path) -> float:
    """Returns the accuracy on eval after the last step."""
    arguments = FnArgs(
        train_files=[f"{examples_dir}/{features.TRAIN_SPLIT}/*"],
        eval_files=[f"{examples_dir}/{features.EVAL_SPLIT}/*"],
        transform_graph_path=f"{examples_dir}/{training_parts.TRANSFORM_DIR}",
        serving_model_dir=str(output / "model"),
        model_run_dir=str(output / "model_run"),
        custom_config={
            "hyper_parameters": dataclasses.asdict(hyper_parameters),
            "checkpoint_dir": str(output / "checkpoints"),
        },
    )
    run.run_fn(arguments)
    record = training_record.read(str(output / "model_run"))
    accuracy = record.evaluations[-1].accuracy
    print(
        f"{hyper_parameters.compute_dtype}, seed {hyper_parameters.seed}: {accuracy:.4f} after "
        f"{STEPS:,} steps, {record.examples_per_second:,.0f} images/s"
    )
    return accuracy


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_every_dtype_reaches_the_same_accuracy(examples_dir, tmp_path):
    """So early, seeds of one dtype differ by about 0.01, and so may dtypes."""
    float32 = dataclasses.replace(QUICK, train_steps=STEPS, compute_dtype="float32")
    other_seed = accuracy_of(
        dataclasses.replace(float32, seed=1), examples_dir, tmp_path / "seed-1"
    )
    accuracies = {
        dtype: accuracy_of(
            dataclasses.replace(float32, compute_dtype=dtype), examples_dir, tmp_path / dtype
        )
        for dtype in ("float32", "bfloat16", "float16")
    }
    assert other_seed > 0.6
    for accuracy in accuracies.values():
        assert accuracy == pytest.approx(other_seed, abs=0.02)
