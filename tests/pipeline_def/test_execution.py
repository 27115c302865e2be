"""The metadata at the start of a run: those of the folder, without what killed runs left."""

import dataclasses
from pathlib import Path

import pytest
import rich.console
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from contract import metadata
from pipeline_def import execution, launch
from pipeline_def.batches import Batches
from pipeline_def.config import PipelineConfig, find_preset
from pipeline_def.console import RunConsole

DONE, RUNNING = proto.Execution.COMPLETE, proto.Execution.RUNNING


@pytest.fixture
def config(tmp_path) -> PipelineConfig:
    """The settings of a folder whose execution 1 ended, while 2 was killed."""
    store = metadata_store.MetadataStore(metadata.connection_to(tmp_path))
    kind = store.put_execution_type(proto.ExecutionType(name="Trainer"))
    store.put_executions(
        [proto.Execution(type_id=kind, last_known_state=state) for state in (DONE, RUNNING)]
    )
    for number in (1, 2):
        folder_of(tmp_path, number).mkdir(parents=True)
    return dataclasses.replace(find_preset("smoke"), output_dir=str(tmp_path))


def folder_of(output: Path, number: int) -> Path:
    return output / f"pipeline/Trainer/model/{number}"


def test_what_a_killed_execution_wrote_is_deleted(config, tmp_path):
    connection = execution.open_metadata(config)
    states = [
        one.last_known_state
        for one in metadata_store.MetadataStore(connection).get_executions_by_id([1, 2])
    ]
    assert states == [DONE, proto.Execution.FAILED]
    assert folder_of(tmp_path, 1).exists()
    assert not folder_of(tmp_path, 2).exists()


def test_a_search_compares_its_data_with_the_version_that_a_run_would(config, monkeypatch):
    defined = []

    def run_nodes(definition, *_):
        defined.extend(definition.components)
        yield launch.Stage("Tuner", 0.0, False, {})

    monkeypatch.setattr(execution.launch, "run_nodes", run_nodes)
    monkeypatch.setattr(execution, "choose_reference", lambda *_: "7")
    searched = dataclasses.replace(config, tuned="seed=1,2")
    console = RunConsole(rich.console.Console(quiet=True), is_live=False)
    execution.run_until_tuned(searched, Batches("data", "fingerprint"), console)
    (validator,) = (node for node in defined if node.id == "ExampleValidator")
    assert validator.exec_properties["reference_version"] == "7"


def test_metadata_that_are_older_than_the_artifacts_are_refused(config, tmp_path):
    folder_of(tmp_path, 3).mkdir()
    expected = (
        f"{tmp_path}/metadata.sqlite does not know execution 3, which wrote "
        f"{folder_of(tmp_path, 3)}. .*Restore both from a backup, or move both away"
    )
    with pytest.raises(ValueError, match=expected):
        execution.open_metadata(config)
    assert folder_of(tmp_path, 2).exists()  # nothing has been touched
