"""What a clean-up deletes and keeps, on folders laid out like those of runs."""

import dataclasses
import datetime
import os
import shutil
from pathlib import Path

import filelock
import pytest
from click.testing import CliRunner
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from cli.main import main
from contract import metadata
from pipeline_def import retention
from report import lineage, runs
from report.run_record import PUSHED, RunRecord, StageRecord
from serving import model_registry, rollback, version_store
from serving.model_registry import Provenance


@dataclasses.dataclass
class Output:
    """An output folder in which every run trains another model on the same examples."""

    root: Path

    def __post_init__(self) -> None:
        self.store = metadata_store.MetadataStore(metadata.connection_to(self.root))
        self.kinds = {
            name: self.store.put_artifact_type(proto.ArtifactType(name=name))
            for name in ("Examples", "Model", "PushedModel")
        }
        self.trainer = self.store.put_execution_type(proto.ExecutionType(name="Trainer"))
        self.pusher = self.store.put_execution_type(proto.ExecutionType(name="Pusher"))
        self.count = 0
        self.examples = self.artifact("Examples", "CifarExampleGen/examples/1")
        gen = self.store.put_execution_type(proto.ExecutionType(name="CifarExampleGen"))
        (self.examples.id,) = self.execution(gen, [(self.examples, True)], "examples")

    def artifact(self, kind: str, place: str) -> proto.Artifact:
        folder = self.root / "pipeline" / place
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(b"x" * 1000)
        (folder.parents[1] / ".system/executor_execution" / folder.name).mkdir(parents=True)
        return proto.Artifact(
            type_id=self.kinds[kind], uri=str(folder), state=proto.Artifact.LIVE
        )

    def execution(self, kind: int, pairs: list, name: str) -> list[int]:
        events = []
        for artifact, is_output in pairs:
            event = proto.Event(type=proto.Event.OUTPUT if is_output else proto.Event.INPUT)
            event.path.steps.add().key = name
            events.append((artifact, event))
        execution = proto.Execution(type_id=kind, last_known_state=proto.Execution.COMPLETE)
        _, artifact_ids, _ = self.store.put_execution(execution, events, [])
        return artifact_ids

    def run(self) -> RunRecord:
        """Makes the traces of one run: examples, a model, a training, a version, a log."""
        self.count += 1
        training, number = f"f{self.count}", 10 + self.count
        checkpoints = self.root / "checkpoints" / training
        checkpoints.mkdir(parents=True)
        (checkpoints / "model.ckpt").write_bytes(b"x" * 2000)
        os.utime(checkpoints / "model.ckpt", (self.count * 100, self.count * 100))
        model = self.artifact("Model", f"Trainer/model/{number}")
        made = self.execution(self.trainer, [(self.examples, False), (model, True)], "model")
        model.id = made[1]
        source = self.root / "saved" / training
        source.mkdir(parents=True)
        (source / "saved_model.pb").write_text(training)
        provenance = Provenance(training, checksums=model_registry.checksums(source))
        version = version_store.push(source, self.root / "serving/cifar10", provenance)
        push = self.artifact("PushedModel", f"Pusher/pushed_model/{number + 50}")
        push.custom_properties["pushed"].int_value = 1
        push.custom_properties["pushed_version"].string_value = version.name
        push.custom_properties["pushed_destination"].string_value = str(version)
        self.execution(self.pusher, [(model, False), (push, True)], "pushed_model")
        stages = {
            "CifarExampleGen": StageRecord(1.0, False, {"examples": self.examples.uri}),
            "Trainer": StageRecord(1.0, False, {"model": model.uri}),
            "Pusher": StageRecord(1.0, False, {"pushed_model": push.uri}),
        }
        record = RunRecord(
            f"2026-01-01T00-00-{self.count:02d}",
            PUSHED,
            {"output_dir": str(self.root)},
            started=datetime.datetime.fromtimestamp(
                self.count * 100, datetime.timezone.utc
            ).isoformat(),
            stages=stages,
            training_fingerprint=training,
            pushed_version=version.name,
            pushed_path=str(version),
        )
        folder = self.root / "runs" / record.run_id
        folder.mkdir(parents=True)
        for name in ("run.log", "report.html"):
            (folder / name).write_text(name)
        runs.write(record, folder / "run.json")
        return record

    def states(self) -> dict[str, int]:
        """Returns the state of each artifact by its folder below the pipeline's root."""
        root = self.root / "pipeline"
        return {
            str(Path(artifact.uri).relative_to(root)): artifact.state
            for artifact in self.store.get_artifacts()
        }

    def folders(self) -> set[str]:
        root = self.root / "pipeline"
        return {
            str(path.relative_to(root)) for path in root.glob("*/*/*") if path.name.isdigit()
        }

    def trainings(self) -> set[str]:
        return {path.name for path in (self.root / "checkpoints").iterdir()}


@pytest.fixture
def output(tmp_path) -> Output:
    (tmp_path / "output").mkdir()
    return Output(tmp_path / "output")


def test_the_newest_runs_and_what_they_share_are_kept(output):
    records = [output.run() for _ in range(4)]
    plan, size = retention.clean(output.root, keep_runs=2)
    assert [run.run_id for run in plan.kept_runs] == [run.run_id for run in records[2:]]
    assert output.folders() == {
        "CifarExampleGen/examples/1",
        *(f"Trainer/model/{number}" for number in (13, 14)),
        *(f"Pusher/pushed_model/{number}" for number in (63, 64)),
    }
    assert output.trainings() == {"f3", "f4"}
    assert size == 2 * (1000 + 1000 + 2000 + len("run.log") + len("report.html"))
    left = {str(path.relative_to(output.root)) for path in output.root.glob("runs/*/*")}
    assert left == {
        *(f"runs/{run.run_id}/run.json" for run in records),
        *(
            f"runs/{run.run_id}/{name}"
            for run in records[2:]
            for name in ("run.log", "report.html")
        ),
    }
    assert not list(output.root.glob("pipeline/Trainer/.system/*/11"))


def test_what_is_deleted_is_marked_and_its_lineage_stays_readable(output):
    records = [output.run() for _ in range(3)]
    retention.clean(output.root, keep_runs=1)
    deleted = {
        name for name, state in output.states().items() if state == proto.Artifact.DELETED
    }
    assert deleted == {"Trainer/model/11", "Trainer/model/12"} | {
        "Pusher/pushed_model/61",
        "Pusher/pushed_model/62",
    }
    connection = metadata.connection_to(output.root)
    for record in records:
        traced = lineage.trace(connection, record.pushed_version, {})
        stages = [execution.stage for execution in traced.executions]
        assert stages == ["Pusher", "Trainer", "CifarExampleGen"]


def test_runs_whose_version_is_served_or_pinned_are_kept(output):
    first, second, third = (output.run() for _ in range(3))
    serving = output.root / "serving/cifar10"
    rollback.pin(serving, int(first.pushed_version))
    rollback.roll_back(serving, int(second.pushed_version))
    output.run()
    rollback.roll_back(serving, int(second.pushed_version))
    plan, _ = retention.clean(output.root, keep_runs=1)
    kept = {run.pushed_version for run in plan.kept_runs}
    assert {first.pushed_version, second.pushed_version} < kept
    assert third.pushed_version not in kept
    assert output.trainings() == {"f1", "f2", "f4"}


def test_runs_that_took_the_served_version_from_the_cache_are_not_kept_for_it(output):
    first = output.run()
    for number in range(20, 30):
        again = dataclasses.replace(first, run_id=f"2026-01-01T00-00-{number}")
        folder = output.root / "runs" / again.run_id
        folder.mkdir()
        (folder / "report.html").write_text("page")
        runs.write(again, folder / "run.json")
    plan, _ = retention.clean(output.root, keep_runs=2)
    assert [run.run_id for run in plan.kept_runs] == [
        first.run_id,
        "2026-01-01T00-00-28",
        "2026-01-01T00-00-29",
    ]
    assert len(list(output.root.glob("runs/*/report.html"))) == 3


def test_a_search_goes_when_no_kept_run_is_older(output):
    searched = output.root / "tuning/5ea7c4/trials"
    searched.mkdir(parents=True)
    (searched / "study.sqlite").write_bytes(b"x" * 3000)
    for path in (searched / "study.sqlite", searched):
        os.utime(path, (50, 50))
    found = output.root / "checkpoints/f1-0badcafe"  # the Trainer of a run with a search
    found.mkdir(parents=True)
    for _ in range(2):
        output.run()
    retention.clean(output.root, keep_runs=2)
    assert searched.exists() and found.exists()
    output.run()
    _, size = retention.clean(output.root, keep_runs=2)
    assert not searched.parent.exists() and not found.exists()
    assert size > 3000


def test_a_search_stays_as_long_as_a_training_with_its_values(output):
    for name in ("tuning/5ea7c4/trials", "checkpoints/5ea7c4.20-0badcafe"):
        (output.root / name).mkdir(parents=True)
    records = [output.run() for _ in range(3)]
    last = dataclasses.replace(records[-1], training_fingerprint="5ea7c4.20")
    runs.write(last, output.root / "runs" / last.run_id / "run.json")
    retention.clean(output.root, keep_runs=1)
    assert "5ea7c4.20-0badcafe" in output.trainings()
    assert "f1" not in output.trainings()
    assert (output.root / "tuning/5ea7c4/trials").exists()


def test_a_training_of_a_kept_run_whose_record_does_not_name_it_is_kept(output):
    records = [output.run() for _ in range(3)]
    last = dataclasses.replace(records[-1], training_fingerprint="")
    runs.write(last, output.root / "runs" / last.run_id / "run.json")
    retention.clean(output.root, keep_runs=1)
    assert output.trainings() == {"f3"}


@pytest.mark.parametrize("killed_in", ["rmtree", "second mark"])
def test_a_clean_up_that_was_killed_offers_nothing_half_gone_and_is_finished_by_the_next(
    output, monkeypatch, killed_in
):
    for _ in range(3):
        output.run()
    mark, calls = retention.mark, []

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    def killed_the_second_time(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        mark(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if killed_in == "rmtree":
            patch.setattr(shutil, "rmtree", killed)
        else:
            patch.setattr(retention, "mark", killed_the_second_time)
        retention.clean(output.root, keep_runs=1)
    live = {name for name, state in output.states().items() if state == proto.Artifact.LIVE}
    assert live == {"CifarExampleGen/examples/1", "Trainer/model/13", "Pusher/pushed_model/63"}
    retention.clean(output.root, keep_runs=1)
    assert output.folders() == live
    assert proto.Artifact.MARKED_FOR_DELETION not in output.states().values()


def test_a_folder_that_was_moved_keeps_what_its_runs_need(output):
    for _ in range(2):
        output.run()
    moved = output.root.with_name("moved")
    output.root.rename(moved)
    before = {path for path in moved.rglob("*") if "runs" not in path.parts}
    retention.clean(moved, keep_runs=2)
    assert {path for path in moved.rglob("*") if "runs" not in path.parts} == before


def test_a_dry_run_says_what_would_go_and_deletes_nothing(output):
    for _ in range(3):
        output.run()
    before = sorted(output.root.rglob("*"))
    arguments = ["clean", "--keep-runs", "1", "--dry-run", "--output", str(output.root)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Would delete 0.0 MB. Artifacts: 4, trainings: 2")
    assert sorted(path for path in output.root.rglob("*") if path.name != ".lock") == before


def test_no_clean_up_beside_a_run(output):
    output.run()
    with filelock.FileLock(output.root / ".lock"):
        result = CliRunner().invoke(main, ["clean", "--output", str(output.root)])
    assert result.exit_code == 1
    assert "Another run is writing to" in result.output
