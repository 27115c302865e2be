"""The compiled YAML, run step by step as Kubeflow's driver and launcher would."""

import io
import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml
from google.protobuf import json_format
from PIL import Image

from benchmarks.emulator.backend import NEW, OLD, StepFailedError
from contract import training_record
from data_sources import dataset
from data_sources.options import DataOptions
from kubeflow.cluster import Cluster, Training
from kubeflow.compile import compile_pipeline
from kubeflow.parameters import RunParameters
from pipeline_def.code_version import ROOT
from serving import model_registry, version_store
from serving import warm_start as serving_start
from serving.model_registry import Provenance
from tests.conftest import trainings_at
from tests.kubeflow import training_operator
from tests.kubeflow.conftest import SETTINGS
from tests.kubeflow.pushed import served_accuracy
from tests.processes import wait_until


@pytest.fixture(scope="module")
def predicting_yaml() -> str:
    """The same pipeline, with the stage that predicts what is in a folder of the volume."""
    settings = [*SETTINGS, "predict_batch=/mnt/cifar10/inbox"]
    parameters = RunParameters(preset="smoke")
    documents = compile_pipeline("registry.test/cifar:1", Cluster(), parameters, settings)
    return yaml.safe_dump_all(documents)


@pytest.fixture(scope="module")
def first_run(backend, predicting_yaml):
    inbox = backend.volume / "inbox"
    inbox.mkdir()
    shutil.copy(ROOT / "data_sources/sample/test_batch.bin", inbox)
    return backend.run(predicting_yaml, NEW)


@pytest.fixture(scope="module")
def second_run(backend, pipeline_yaml, first_run):
    """A worse model, on an older backend, its Trainer killed at the first checkpoint."""
    checkpoints = backend.volume / "checkpoints"
    before = trainings_at(checkpoints, 20)
    return backend.run(
        pipeline_yaml,
        OLD,
        kill_once={"Trainer": lambda: trainings_at(checkpoints, 20) > before},
        train_steps=21,
    )


@pytest.fixture(scope="module")
def local_record(tmp_path_factory):
    output = tmp_path_factory.mktemp("local")
    command = [sys.executable, "-c", "from cli.main import main; main()", "run"]
    options = ["--preset", "smoke", "--data", "sample", "--output", str(output)]
    subprocess.run([*command, *options], cwd=ROOT, check=True, timeout=300)
    return json.loads((output / "run.json").read_text())


def metadata_of(step, output):
    """Returns an output's properties in ML Metadata: strings and doubles."""
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in step.outputs[output].custom_properties.items()
    }


def versions(backend) -> list[Path]:
    return sorted((backend.volume / "serving/cifar10").glob("[0-9]*"))


def test_every_step_of_the_compiled_pipeline_succeeds(first_run, documents):
    nodes = {*documents[0]["root"]["dag"]["tasks"], "BulkInferrer"}
    assert set(first_run) == nodes
    assert {step.state for step in first_run.values()} == {"SUCCEEDED"}
    empty = {
        (name, output) for name, step in first_run.items() for output in step.empty_outputs
    }
    assert empty == {
        ("BaselineModel", "model"),  # there is none yet
        ("Evaluator", "confusion_matrix"),  # metadata only
        ("Evaluator", "metrics"),
        ("Pusher", "pushed_model"),  # the version is on the volume
    }


def test_the_pushed_model_is_on_the_volume_and_knows_its_training(backend, first_run):
    (version, *_) = versions(backend)
    assert metadata_of(first_run["Pusher"], "pushed_model")["pushed_version"] == version.name
    provenance = json.loads((version / "assets.extra/pushed.json").read_text())
    assert provenance["eval_fingerprint"] == dataset.read_sample().eval_fingerprint
    (checkpoints,) = (backend.volume / "checkpoints").glob(
        f"{provenance['training_fingerprint']}/checkpoint"
    )
    assert checkpoints.is_file()
    # Runs that would train in this folder at once take turns.
    assert checkpoints.parent.with_name(f"{checkpoints.parent.name}.lock").is_file()


def test_every_metric_of_the_ui_is_a_number(first_run):
    metrics = first_run["Evaluator"].outputs["metrics"].custom_properties
    assert {"accuracy", "accuracy_ship", "cross_entropy"} < set(metrics)
    kinds = {
        value.WhichOneof("value") for key, value in metrics.items() if key != "display_name"
    }
    assert kinds == {"double_value"}


def test_the_ui_gets_the_accuracy_and_the_confusion_matrix(first_run):
    metrics = metadata_of(first_run["Evaluator"], "metrics")
    stored = metadata_of(first_run["Evaluator"], "confusion_matrix")["confusionMatrix"]
    matrix = json_format.MessageToDict(stored)["struct"]
    assert matrix["annotationSpecs"][3] == {"displayName": "cat"}
    counts = np.array([line["row"] for line in matrix["rows"]])
    assert counts.sum() == metrics["eval_examples"] == 200
    assert np.trace(counts) / 200 == pytest.approx(metrics["accuracy"])
    assert counts[8, 8] / counts[8].sum() == pytest.approx(metrics["accuracy_ship"])


def test_the_ui_gets_the_report_as_one_page(backend, first_run):
    uri = first_run["ReportGen"].outputs["report"].uri
    page = backend.store.get(uri.split("/", 3)[3]).decode()
    assert uri.endswith("/report.html")
    assert f"{metadata_of(first_run['Evaluator'], 'metrics')['accuracy']:.1%}" in page


def test_the_model_is_as_accurate_as_the_local_run(first_run, local_record):
    metrics = metadata_of(first_run["Evaluator"], "metrics")
    assert metrics["accuracy"] == pytest.approx(local_record["accuracy"], abs=0.005)
    assert metrics["cross_entropy"] == pytest.approx(local_record["cross_entropy"], abs=1e-3)


def test_a_model_server_serves_what_was_pushed(backend, first_run):
    (version, *_) = versions(backend)
    accuracy = metadata_of(first_run["Evaluator"], "metrics")["accuracy"]
    assert served_accuracy(version) == pytest.approx(accuracy)


def test_what_is_in_the_folder_is_predicted_with_the_pushed_model(backend, first_run):
    result = first_run["BulkInferrer"].outputs["inference_result"]
    (key,) = [
        key
        for key in backend.store.keys(result.uri.split("/", 3)[3])
        if key.endswith(".parquet")
    ]
    table = pq.read_table(io.BytesIO(backend.store.get(key)))
    rows = np.fromfile(ROOT / "data_sources/sample/test_batch.bin", np.uint8)
    right = np.array(table["class_id"]) == rows.reshape(-1, 3073)[:, 0]
    accuracy = metadata_of(first_run["Evaluator"], "metrics")["accuracy"]
    assert right.mean() == pytest.approx(accuracy)


def test_a_killed_step_is_retried_and_goes_on_from_its_checkpoint(backend, second_run):
    assert second_run["Trainer"].attempts == 2
    key = second_run["Trainer"].outputs["model_run"].uri.split("/", 3)[3]
    training = json.loads(backend.store.get(f"{key}/training.json"))
    assert (training["start_step"], training["steps"]) == (20, 21)


def test_steps_that_depend_on_nothing_new_come_from_the_cache(second_run):
    assert {name for name, step in second_run.items() if step.state == "CACHED"} == {
        "CifarExampleGen",
        "StatisticsGen",
        "Transform",
    }


def test_a_second_run_finds_the_baseline_and_refuses_a_worse_model(
    backend, first_run, second_run
):
    baseline = metadata_of(second_run["BaselineModel"], "model")
    assert baseline["pushed_version"] == versions(backend)[0].name
    assert metadata_of(second_run["Evaluator"], "blessing")["blessed"] == 0
    worse = metadata_of(second_run["Evaluator"], "metrics")["accuracy"]
    better = metadata_of(first_run["Evaluator"], "metrics")["accuracy"]
    assert worse < better - 0.02
    assert metadata_of(second_run["Pusher"], "pushed_model")["pushed"] == 0
    assert len(versions(backend)) == 1


@pytest.mark.parametrize("launcher", [OLD, NEW], ids=["2.0", "2.17"])
def test_a_step_writes_where_either_launcher_uploads_from(backend, pipeline_yaml, launcher):
    steps = backend.run(pipeline_yaml, launcher, only="CifarExampleGen", cache=False)
    uri = steps["CifarExampleGen"].outputs["schema"].uri
    assert uri.startswith(f"{launcher.scheme}://mlpipeline/v2/artifacts/cifar10-estimator/")
    (key,) = backend.store.keys(uri.split("/", 3)[3])
    assert b'name: "image"' in backend.store.get(key)


def test_an_unwritable_output_fails_the_step_and_is_named(backend, pipeline_yaml):
    with pytest.raises(StepFailedError) as failure:
        backend.run(
            pipeline_yaml.replace("maxRetryCount: 2", "maxRetryCount: 0"),
            only="CifarExampleGen",
            read_only_outputs="CifarExampleGen",
            cache=False,
        )
    last_line = failure.value.steps["CifarExampleGen"].log.splitlines()[-1]
    assert last_line.startswith("Error: CifarExampleGen failed: cannot write the output ")
    assert "s3://mlpipeline" in last_line and "Read-only file system" in last_line


def test_an_image_of_other_code_is_refused(backend, documents, pipeline_yaml):
    task = documents[0]["root"]["dag"]["tasks"]["CifarExampleGen"]
    compiled = task["inputs"]["parameters"]["code_version"]["runtimeValue"]["constant"]
    other = pipeline_yaml.replace(compiled, "0" * len(compiled))
    with pytest.raises(StepFailedError) as failure:
        backend.run(
            other.replace("maxRetryCount: 2", "maxRetryCount: 0"),
            only="CifarExampleGen",
            cache=False,
        )
    last_line = failure.value.steps["CifarExampleGen"].log.splitlines()[-1]
    assert "this image contains other code" in last_line and compiled in last_line


def test_batches_on_the_volume_are_read_once_their_fingerprint_is_told(backend, pipeline_yaml):
    batches = backend.volume / "data/cifar-10-batches-bin"  # as the archive unpacks
    shutil.copytree(ROOT / "data_sources/sample", batches)
    parameters = {"only": "CifarExampleGen", "cache": False, "data": "/mnt/cifar10/data"}
    with pytest.raises(StepFailedError) as failure:  # they are not the official ones
        backend.run(pipeline_yaml.replace("maxRetryCount: 2", "maxRetryCount: 0"), **parameters)
    last_line = failure.value.steps["CifarExampleGen"].log.splitlines()[-1]
    fingerprint = re.search(r"have the fingerprint (\w{64})", last_line)[1]
    steps = backend.run(pipeline_yaml, data_fingerprint=fingerprint, **parameters)
    key = steps["CifarExampleGen"].outputs["examples"].uri.split("/", 3)[3]
    assert len(backend.store.keys(f"{key}/Split-train/")) == 5
    # For the steps that choose the baseline and push.
    found = dataset.locate(str(batches), batches)
    schema = metadata_of(steps["CifarExampleGen"], "schema")
    assert schema["eval_fingerprint"] == found.eval_fingerprint


def own_data(backend, name, write, **options: str) -> dict[str, str]:
    """Puts data on the volume; returns the parameters of a run on them."""
    folder = backend.volume / name
    write(folder)
    found = dataset.locate(str(folder), folder, options=DataOptions(**options))
    return {"data": f"/mnt/cifar10/{name}", "data_fingerprint": found.fingerprint}


def write_pictures(folder: Path) -> None:
    draws = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 10)):
        for name, colour in {"rose": (220, 20, 20), "sky": (20, 20, 220)}.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(draws.normal(colour, 15, (36, 50, 3)), 0, 255)
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / split / name / f"{number}.png")


def test_cifar_100_on_the_volume_has_its_own_classes(backend, cifar100_dir, pipeline_yaml):
    parameters = own_data(backend, "own100", lambda to: shutil.copytree(cifar100_dir, to))
    told = {"only": "CifarExampleGen", "cache": False, **parameters}
    steps = backend.run(pipeline_yaml, **told)
    schema = steps["CifarExampleGen"].outputs["schema"].uri.split("/", 3)[3]
    (key,) = backend.store.keys(schema)
    assert b'value: "dolphin"' in backend.store.get(key)


def test_spans_on_the_volume_are_selected(backend, cifar_dir):
    def write(folder: Path) -> None:
        shutil.copytree(cifar_dir, folder)
        for number in (1, 2):
            (folder / f"span-{number}").mkdir()
            shutil.copy(cifar_dir / f"data_batch_{number}.bin", folder / f"span-{number}")

    documents = compile_pipeline(
        "registry.test/cifar:1", Cluster(), RunParameters(preset="smoke"), ["spans=last:1"]
    )
    parameters = own_data(backend, "spans", write, spans="last:1")
    told = {"only": "CifarExampleGen", "cache": False, **parameters}
    steps = backend.run(yaml.safe_dump_all(documents), **told)
    examples = steps["CifarExampleGen"].outputs["examples"]
    keys = backend.store.keys(examples.uri.split("/", 3)[3])
    content = b"".join(backend.store.get(key) for key in keys if "Split-train" in key)
    assert b"span-2/data_batch_2.bin:19" in content
    assert b"data_batch_1.bin" not in content


@pytest.fixture(scope="module")
def operator(backend, tmp_path_factory):
    """A training operator, and the credentials for it in every pod."""
    directory = tmp_path_factory.mktemp("operator")
    with training_operator.serve(directory, {"cifar10": backend.volume}) as served:
        operator, address, account = served
        backend.pod_mounts = {"/var/run/secrets/kubernetes.io/serviceaccount": account}
        backend.pod_environment = training_operator.account_environment(address)
        yield operator


@pytest.fixture(scope="module")
def shared_training(backend, first_run, operator, tmp_path_factory):
    """The first run's training by two workers, one of which is killed after 20 steps.

    Returns the step, and the folders of both trainings' checkpoints.
    """
    fingerprint = json.loads((versions(backend)[0] / "assets.extra/pushed.json").read_text())
    checkpoints = backend.volume / "checkpoints" / fingerprint["training_fingerprint"]
    alone = shutil.move(checkpoints, tmp_path_factory.mktemp("alone") / "checkpoints")
    documents = compile_pipeline(
        "registry.test/cifar:1",
        Cluster(training=Training(workers=2)),
        RunParameters(preset="smoke"),
        SETTINGS,
    )

    def kill_worker() -> None:
        wait_until(lambda: checkpoints in trainings_at(checkpoints.parent, 20), 480)
        (worker,) = [pod for pod in operator.all_pods.values() if pod.kind == "worker"]
        worker.end()

    thread = threading.Thread(target=kill_worker)
    thread.start()
    steps = backend.run(yaml.safe_dump_all(documents), only="Trainer")
    thread.join()
    return steps["Trainer"], alone, checkpoints


def test_the_step_shows_the_chief_s_log_and_leaves_no_job_behind(operator, shared_training):
    step, _, checkpoints = shared_training
    assert step.state == "SUCCEEDED"
    assert "Created TFJob cifar10-" in step.log and "step 60 of 60" in step.log
    assert not operator.jobs
    assert not any(pod.is_running for pod in operator.all_pods.values())
    assert not (checkpoints / "tfjob").exists()


def test_a_killed_worker_comes_back_and_all_go_on_from_the_checkpoint(
    operator, shared_training
):
    _, _, checkpoints = shared_training
    restarts = {pod.kind: pod.restarts for pod in operator.all_pods.values()}
    assert restarts["worker"] >= 1 and restarts["chief"] >= 1
    record = training_record.read(str(checkpoints))
    assert (record.steps, record.train_examples) == (60, 1000)
    assert record.start_step >= 20
    assert list(checkpoints.glob("eval/events.out.*"))  # by the evaluator


def test_two_workers_train_as_one_process_with_the_joint_batch(shared_training):
    """Muon amplifies rounding; other batches would put weights as far off as they moved."""
    _, alone, checkpoints = shared_training
    found, expected, earlier = (
        tf.train.load_checkpoint(str(each))
        for each in (checkpoints, alone, Path(alone) / "model.ckpt-20")
    )
    for name in expected.get_variable_to_shape_map():
        if name.endswith(("weights", "biases")):
            value = expected.get_tensor(name)
            moved = np.linalg.norm(value - earlier.get_tensor(name))
            assert np.linalg.norm(found.get_tensor(name) - value) < 0.4 * moved, name


@pytest.mark.slow
def test_a_folder_of_pictures_on_the_volume_is_trained_on_and_pushed(backend, pipeline_yaml):
    before = versions(backend)
    steps = backend.run(pipeline_yaml, **own_data(backend, "flowers", write_pictures))
    assert {step.state for step in steps.values()} == {"SUCCEEDED"}
    (version,) = {*versions(backend)} - {*before}
    assert metadata_of(steps["Pusher"], "pushed_model")["pushed_version"] == version.name
    accuracy = metadata_of(steps["Evaluator"], "metrics")
    assert accuracy["accuracy_rose"] + accuracy["accuracy_sky"] > 1.2
    assert "top_3_accuracy" not in accuracy  # of two classes


@pytest.mark.slow
def test_cifar_100_on_the_volume_is_trained_on_and_pushed(backend, cifar100_dir, pipeline_yaml):
    before = versions(backend)
    parameters = own_data(backend, "whole100", lambda to: shutil.copytree(cifar100_dir, to))
    steps = backend.run(pipeline_yaml, **parameters)
    assert {step.state for step in steps.values()} == {"SUCCEEDED"}
    (version,) = {*versions(backend)} - {*before}
    accuracy = metadata_of(steps["Evaluator"], "metrics")
    assert "accuracy_dolphin" in accuracy
    assert "top_3_accuracy" not in accuracy  # of six classes
    assert metadata_of(steps["Pusher"], "pushed_model")["pushed_version"] == version.name


@pytest.mark.slow
def test_every_step_runs_on_either_launcher(backend, pipeline_yaml, first_run):
    before = len(versions(backend))
    steps = backend.run(pipeline_yaml, OLD, cache=False)
    assert {step.state for step in steps.values()} == {"SUCCEEDED"}
    assert len(versions(backend)) == before + 1


@pytest.mark.slow
def test_another_estimator_is_trained_gated_and_pushed(backend):
    before = versions(backend)
    documents = compile_pipeline(
        "registry.test/cifar:1",
        Cluster(),
        RunParameters(preset="smoke"),
        ["max_accuracy_drop=0.5", "ema_decay=0.7"],
        trainer_module="examples.batch_norm",
    )
    steps = backend.run(yaml.safe_dump_all(documents), NEW)
    (version,) = {*versions(backend)} - {*before}
    assert metadata_of(steps["Pusher"], "pushed_model")["pushed_version"] == version.name
    accuracy = metadata_of(steps["Evaluator"], "metrics")["accuracy"]
    assert served_accuracy(version) == pytest.approx(accuracy)
    key = steps["ReportGen"].outputs["report"].uri.split("/", 3)[3]
    page = backend.store.get(key).decode()
    assert "preset smoke of examples.batch_norm; 30 steps of 32 images" in page
    assert "3 convolutions, 3 batch norms, 1 dense layer" in page
    assert '<code>ema_decay</code></th><td class="words"><code>0.7</code>' in page


# Warm start; these push versions, so they come last


@pytest.fixture(scope="module")
def warm_yaml() -> str:
    documents = compile_pipeline(
        "registry.test/cifar:1",
        Cluster(),
        RunParameters(preset="smoke"),
        ["warm_start=latest", "max_accuracy_drop=0.5"],
    )
    return yaml.safe_dump_all(documents)


def start_version_of(backend, step) -> str:
    key = step.outputs["model_run"].uri.split("/", 3)[3]
    return json.loads(backend.store.get(f"{key}/training.json"))["start_version"]


@pytest.fixture(scope="module")
def warm_training(backend, warm_yaml, first_run):
    """The newest version, and the Trainer of a run that starts from it."""
    newest = versions(backend)[-1]
    return newest, backend.run(warm_yaml, only="Trainer")["Trainer"]


@pytest.fixture(scope="module")
def next_warm_run(backend, warm_yaml, warm_training):
    """A version that was pushed since, and the steps of the same run up to its push."""
    _, trainer = warm_training
    prefix = trainer.outputs["model"].uri.split("/", 3)[3] + "/Format-Serving/"
    model = backend.directory / "trained"
    for key in backend.store.keys(prefix):
        file = model / key.removeprefix(prefix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(backend.store.get(key))
    provenance = Provenance("another training", checksums=model_registry.checksums(model))
    pushed = version_store.push(model, backend.volume / "serving/cifar10", provenance)
    return pushed, backend.run(warm_yaml, only="Pusher")


def test_a_warm_start_is_from_the_version_on_the_volume(backend, warm_training):
    version, trainer = warm_training
    assert start_version_of(backend, trainer) == version.name
    assert f"from the weights of version {version.name}" in trainer.log


def test_after_a_push_the_same_run_trains_again_from_the_new_version(
    backend, warm_training, next_warm_run
):
    version, steps = next_warm_run
    assert steps["CifarExampleGen"].state == "CACHED"
    assert steps["Trainer"].state == "SUCCEEDED"
    assert version != warm_training[0]
    assert start_version_of(backend, steps["Trainer"]) == version.name
    assert "step 60 of 60" in steps["Trainer"].log


def test_the_pushed_model_knows_the_version_it_started_from(backend, next_warm_run):
    version, steps = next_warm_run
    pushed = metadata_of(steps["Pusher"], "pushed_model")["pushed_version"]
    found = model_registry.read_version(backend.volume / "serving/cifar10" / pushed)
    assert found.provenance.start_version == version.name
    assert found.provenance.start_weights == serving_start.weights_of(
        model_registry.read_version(version)
    )
    # It is the training whose checkpoints are on the volume.
    checkpoints = backend.volume / "checkpoints" / found.provenance.training_fingerprint
    assert training_record.read(str(checkpoints)).start_version == version.name
