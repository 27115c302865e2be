"""The real command on the real sample: what it makes, what it keeps, what it refuses."""

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import filelock
import numpy as np
import pytest

from pipeline_def.code_version import ROOT
from tests.conftest import trainings_at

STAGES = [
    "CifarExampleGen",
    "StatisticsGen",
    "Transform",
    "ExampleValidator",
    "Trainer",
    "BaselineModel",
    "Evaluator",
    "ServingCheck",
    "Pusher",
    "ReportGen",
]


@dataclasses.dataclass(frozen=True)
class Project:
    """A copy of the project, so that a test can edit its source."""

    root: Path
    output: Path

    def command(self, *arguments: str, output: Path | None = None) -> list[str]:
        return [
            sys.executable,
            "-c",
            "from cli.main import main; main()",
            *("run", "--preset", "smoke", "--data", "sample"),
            *("--output", str(output or self.output), *arguments),
        ]

    def run(self, *arguments: str, output: Path | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments, output=output),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def record(self, output: Path | None = None) -> dict:
        return json.loads(((output or self.output) / "run.json").read_text())

    def versions(self) -> dict[str, float]:
        """Returns each pushed file and when it was written."""
        return files_below(self.output / "serving")


def files_below(folder: Path, pattern: str = "*") -> dict[str, float]:
    """Returns each file below a folder and when it was written."""
    return {str(path): path.stat().st_mtime for path in folder.rglob(pattern)}


def cached_stages(record: dict) -> list[str]:
    return [name for name, stage in record["stages"].items() if stage["cached"]]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    root = tmp_path_factory.mktemp("project")
    for init in ROOT.glob("*/__init__.py"):
        shutil.copytree(init.parent, root / init.parent.name)
    return Project(root, root / "output")


@pytest.fixture(scope="module")
def first_run(project) -> subprocess.CompletedProcess:
    result = project.run()
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def first_record(project, first_run) -> dict:
    return project.record()


def test_a_run_ends_with_a_pushed_model_and_its_record(project, first_record):
    assert first_record["status"] == "pushed"
    assert first_record["blessed"] is True
    assert first_record["data_source"] == "sample"
    assert first_record["train_steps"] == 60
    assert first_record["examples_per_second"] > 0
    assert list(first_record["stages"]) == STAGES
    assert cached_stages(first_record) == []
    version = project.output / "serving/cifar10" / first_record["pushed_version"]
    assert str(version) == first_record["pushed_path"]
    assert (version / "saved_model.pb").is_file()


def test_the_summary_says_what_the_record_says(first_run, first_record):
    assert f"Accuracy {first_record['accuracy']:.1%} on 200 eval images" in first_run.stdout
    for name, accuracy in first_record["class_accuracy"].items():
        assert any(
            line.split()[:2] == [name, f"{accuracy:.1%}"]
            for line in first_run.stdout.splitlines()
        )
    assert first_record["pushed_path"] in first_run.stdout
    assert first_run.stdout.splitlines()[-1].startswith(
        "Warning: trained on the bundled sample"
    )
    assert first_run.stderr == ""


def test_the_pushed_model_is_as_accurate_as_the_gate_says(project, first_record):
    import tensorflow as tf

    records = np.fromfile(ROOT / "data_sources/sample/test_batch.bin", np.uint8).reshape(
        -1, 3073
    )
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    model = tf.saved_model.load(first_record["pushed_path"])
    predicted = model.signatures["serving_default"](images=tf.constant(images))["class_ids"]
    right = predicted.numpy() == records[:, 0]
    assert right.mean() == pytest.approx(first_record["accuracy"], abs=1e-6)
    assert right[records[:, 0] == 8].mean() == pytest.approx(
        first_record["class_accuracy"]["ship"], abs=1e-6
    )


def test_an_identical_run_redoes_nothing(project, first_record):
    before = project.versions()
    assert project.run().returncode == 0
    again = project.record()
    assert cached_stages(again) == STAGES
    assert project.versions() == before
    kept = ("status", "accuracy", "pushed_version", "examples_per_second")
    assert [again[name] for name in kept] == [first_record[name] for name in kept]


def test_a_deleted_serving_folder_is_pushed_again(project, first_record):
    shutil.rmtree(project.output / "serving")
    assert project.run().returncode == 0
    record = project.record()
    assert cached_stages(record) == STAGES[: STAGES.index("Pusher")]
    assert (Path(record["pushed_path"]) / "saved_model.pb").is_file()


def test_a_model_below_the_threshold_is_not_pushed(project, first_record):
    before = project.versions()
    result = project.run("--set", "min_accuracy=0.99")
    assert result.returncode == 3, result.stdout + result.stderr
    record = project.record()
    assert (record["status"], record["blessed"], record["pushed_version"]) == (
        "not_blessed",
        False,
        None,
    )
    assert f"accuracy is {record['accuracy']:.1%}, at least 99.0% is required" in result.stdout
    assert project.versions() == before


def test_a_model_worse_than_the_pushed_one_is_not_pushed(project, first_record):
    before = project.versions()
    result = project.run("--set", "train_steps=1", "--set", "max_accuracy_drop=0.02")
    assert result.returncode == 3, result.stdout + result.stderr
    gate = project.record()["gate"]
    assert gate["baseline_accuracy"] == pytest.approx(first_record["accuracy"])
    drop = gate["baseline_accuracy"] - project.record()["accuracy"]
    assert gate["refusals"] == [
        f"accuracy fell by {100 * drop:.1f} points compared with the baseline, 2.0 allowed"
    ]
    assert project.versions() == before


def test_a_model_that_fails_the_serving_check_is_not_pushed(project, first_record):
    before = project.versions()
    result = project.run("--set", "max_latency_milliseconds=0.001")
    assert result.returncode == 3, result.stdout + result.stderr
    record = project.record()
    assert (record["status"], record["blessed"]) == ("not_blessed", False)
    assert "at most 0.001 ms is allowed" in record["serving_check"]["verdict"]
    assert record["serving_check"]["verdict"] in result.stdout
    assert project.versions() == before


def run_edited(project: Project, module: str) -> dict:
    """Returns the record of a run with a statement added to a module, which is then undone."""
    source = project.root / module
    text = source.read_text()
    source.write_text(text + "\nEDITED = True\n")
    try:
        result = project.run()
    finally:
        source.write_text(text)
    assert result.returncode == 0, result.stdout + result.stderr
    return project.record()


def test_an_edited_model_reruns_from_the_trainer_on(project, first_record):
    record = run_edited(project, "trainer_module/model.py")
    assert cached_stages(record) == STAGES[: STAGES.index("Trainer")]
    assert record["pushed_version"] > first_record["pushed_version"]
    assert record["gate"]["baseline_version"] is not None


def test_an_edited_export_is_exported_without_training(project, first_record):
    before = files_below(project.output / "checkpoints", "model.ckpt-*")
    record = run_edited(project, "trainer_module/export.py")
    assert cached_stages(record) == STAGES[: STAGES.index("Trainer")]
    assert record["pushed_version"] > first_record["pushed_version"]
    assert record["training"] == first_record["training"]
    assert files_below(project.output / "checkpoints", "model.ckpt-*") == before


def test_changed_data_reruns_everything_that_reads_it(project, first_record, tmp_path):
    shutil.copytree(ROOT / "data_sources/sample", tmp_path / "data")
    batch = tmp_path / "data/data_batch_1.bin"
    content = bytearray(batch.read_bytes())
    content[1] ^= 255  # one red value of the first image
    batch.write_bytes(content)
    assert project.run("--data", str(tmp_path / "data")).returncode == 0
    assert cached_stages(project.record()) == []
    assert project.record()["data_source"] == "directory"


def test_a_killed_run_goes_on_where_it_was(project, tmp_path):
    settings = ("--set", "train_steps=200", "--set", "checkpoint_every_steps=20")
    output = tmp_path / "output"
    process = subprocess.Popen(
        project.command(*settings, output=output), cwd=project.root, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not trainings_at(output / "checkpoints", 20):
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    result = project.run(*settings, output=output)
    assert result.returncode == 0, result.stdout + result.stderr
    training = project.record(output)["training"]
    assert 20 <= training["start_step"] < 200
    assert training["steps"] == 200


def test_a_loss_that_is_no_number_stops_the_run(project, first_record):
    before = project.versions()
    result = project.run("--set", "learning_rate=1e9")
    assert result.returncode == 1
    assert one_error(result).startswith("Error: ")
    assert "learning_rate" in result.stderr
    record = project.record()
    assert record["status"] == "failed"
    assert record["failed_stage"] == "Trainer"
    assert record["error"] in result.stderr
    assert "<h1>The run failed</h1>" in (project.output / "report.html").read_text()
    assert project.versions() == before


def test_a_report_that_cannot_be_written_costs_nobody_the_run(project, first_record):
    in_the_way = project.output / ".report.html.partial"
    in_the_way.mkdir()
    try:
        result = project.run()
    finally:
        in_the_way.rmdir()
    assert result.returncode == 0
    assert project.record()["status"] == "pushed"
    assert result.stderr.startswith("Warning: this run has no report (")


def one_error(result: subprocess.CompletedProcess) -> str:
    """Returns the error of a failed command, after checking that it is the only one."""
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stderr.count("Error: ") == 1, result.stderr
    return result.stderr


def _cut(directory: Path) -> None:
    batch = directory / "data_batch_2.bin"
    batch.write_bytes(batch.read_bytes()[:-7])


def _lengthen(directory: Path) -> None:
    with (directory / "test_batch.bin").open("ab") as file:
        file.write(b"more")


def _mislabel(directory: Path) -> None:
    batch = directory / "data_batch_3.bin"
    content = bytearray(batch.read_bytes())
    content[3073 * 5] = 10
    batch.write_bytes(content)


BAD_FOLDERS = {
    "missing batch": (
        lambda directory: (directory / "data_batch_4.bin").unlink(),
        ["data_batch_4.bin", "cifar data fetch"],
    ),
    "truncated file": (_cut, ["data_batch_2.bin", "614,593 bytes", "3,073"]),
    "extra bytes": (_lengthen, ["test_batch.bin", "614,604 bytes", "offset 614,600"]),
    "label 10": (_mislabel, ["data_batch_3.bin", "record 5", "label 10", "0 to 9"]),
    "empty file": (
        lambda directory: (directory / "data_batch_5.bin").write_bytes(b""),
        ["data_batch_5.bin", "empty"],
    ),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_bad_batches_are_named_before_anything_starts(project, first_record, tmp_path, name):
    spoil, expected = BAD_FOLDERS[name]
    directory = tmp_path / "batches"
    shutil.copytree(ROOT / "data_sources/sample", directory)
    spoil(directory)
    before = project.versions()
    result = project.run("--data", str(directory))
    assert result.returncode == 1
    assert all(words in one_error(result) for words in expected), result.stderr
    assert project.record()["status"] == "failed"
    assert project.record()["stages"] == {}
    assert project.versions() == before


def _archive(path: Path, member: str) -> None:
    content = (ROOT / "data_sources/sample/test_batch.bin").read_bytes()
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def test_a_web_page_saved_as_the_archive_is_recognised(project, tmp_path):
    page = tmp_path / "cifar-10-binary.tar.gz"
    page.write_text("<!DOCTYPE html><html><body>Not found</body></html>")
    result = project.run("--data", str(page))
    assert result.returncode == 1
    assert str(page) in one_error(result)


def test_an_archive_cannot_write_outside_its_folder(project, tmp_path):
    archive = tmp_path / "cifar.tar.gz"
    _archive(archive, "cifar-10-batches-bin/../../escaped.bin")
    result = project.run("--data", str(archive))
    assert result.returncode == 1
    assert "escaped.bin" in one_error(result)
    assert not list(tmp_path.rglob("escaped.bin")) + list(project.root.rglob("escaped.bin"))


def test_a_folder_that_is_not_there_is_named(project, tmp_path):
    result = project.run("--data", str(tmp_path / "absent"))
    assert result.returncode == 1
    assert str(tmp_path / "absent") in one_error(result)


def test_an_output_that_cannot_be_written_is_named(project, tmp_path):
    (tmp_path / "file").touch()
    result = project.run(output=tmp_path / "file/output")
    assert result.returncode == 1
    assert "--output" in one_error(result)


def test_a_read_only_output_is_named(project, tmp_path):
    (tmp_path / "output").mkdir(mode=0o555)
    command = project.command(output=tmp_path / "output")
    if os.geteuid() == 0:  # who may write anywhere but on a read-only mount
        mount = 'mount --bind -o ro "$0" "$0" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mount, str(tmp_path / "output"), *command]
    result = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    assert result.returncode == 1
    assert "--output" in one_error(result)


def test_a_second_run_on_the_same_output_is_refused(project, first_record):
    before = project.record()
    with filelock.FileLock(project.output / ".lock"):
        result = project.run()
    assert result.returncode == 1
    assert "Another run is writing to" in one_error(result)
    assert project.record() == before


def test_no_process_no_file_and_no_line_holds_the_password(project, tmp_path):
    secret = "S3cret:w@rd/pass-w0rd"
    (tmp_path / "url").write_text(f"mysql://tfx:{secret}@127.0.0.1:1/mlmd")  # nobody answers
    output = tmp_path / "output"
    command = project.command("--metadata-url-file", str(tmp_path / "url"), output=output)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, "--verbose"], cwd=project.root, stdout=pipe, stderr=pipe
    ) as process:
        command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        said = b"".join(process.communicate(timeout=300))
    assert process.returncode == 1
    assert (
        b"The metadata store mysql://tfx:\xe2\x80\xa6@127.0.0.1:1/mlmd does not answer" in said
    )
    assert project.record(output)["config"]["metadata_url"] == "mysql://tfx:…@127.0.0.1:1/mlmd"
    left = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert {"run.json", "run.log", "report.html"} <= {path.name for path in left}
    for part in (secret, "S3cret", "w@rd", "pass-w0rd"):
        assert part.encode() not in command_line + said
        assert not [path for path, content in left.items() if part.encode() in content]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("epochs=3", "no such field"),
        ("train_steps=soon", "train_steps must be a whole number"),
        ("metadata_url=mysql://me:secret@db/mlmd", "CIFAR_METADATA_URL"),
    ],
)
def test_a_wrong_setting_is_a_usage_error(project, first_record, setting, expected):
    before = project.record()
    result = project.run("--set", setting)
    assert result.returncode == 2
    assert expected in one_error(result)
    assert project.record() == before
