"""Lineage, checked against what MLMD itself says of the same run."""

import hashlib
import json
import subprocess

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from contract import estimator
from data_sources.cifar_format import BATCH_FILES
from data_sources.dataset import SAMPLE_DIR
from pipeline_def.code_version import code_version
from report import lineage
from tests.finished_runs import cifar


@pytest.fixture
def connection(output, pushed):
    connection = proto.ConnectionConfig()
    connection.sqlite.filename_uri = str(output / "metadata.sqlite")
    return connection


@pytest.fixture
def traced(connection, pushed):
    return lineage.trace(connection, pushed.record["pushed_version"], {})


def test_lineage_is_the_subgraph_that_mlmd_finds(connection, traced):
    push = next(a for a in traced.artifacts.values() if a.type == "PushedModel")
    query = proto.LineageSubgraphQueryOptions(
        starting_artifacts=proto.LineageSubgraphQueryOptions.StartingNodes(
            filter_query=f"uri = '{push.uri}'"
        ),
        max_num_hops=20,
        direction=proto.LineageSubgraphQueryOptions.UPSTREAM,
    )
    graph = metadata_store.MetadataStore(connection).get_lineage_subgraph(query)
    # MLMD also counts runs that found an artifact in the cache; they made nothing.
    made = {e.id for e in graph.executions if e.last_known_state == proto.Execution.COMPLETE}
    events = [event for event in graph.events if event.execution_id in made]
    assert {e.id for e in traced.executions} == made
    assert {(e.id, artifact) for e in traced.executions for artifact in e.inputs} == {
        (event.execution_id, event.artifact_id)
        for event in events
        if event.type == proto.Event.INPUT
    }
    assert set(traced.artifacts) == {push.id} | {
        event.artifact_id for event in events if event.type == proto.Event.INPUT
    }


def test_lineage_ends_at_the_checksums_of_the_batch_files(traced):
    assert traced.checksums == {
        name: hashlib.sha256((SAMPLE_DIR / name).read_bytes()).hexdigest()
        for name in BATCH_FILES
    }


def test_every_stage_of_ours_names_its_code(traced):
    code = {execution.stage: execution.code_version for execution in traced.executions}
    trainer_module = estimator.load()
    assert code["Trainer"] == code_version(
        "components.trainer",
        trainer_module.run_module,
        without=trainer_module.settings_module,
    )
    assert code["Pusher"] == code_version("components.pusher")
    assert next(iter(code)) == "Pusher"
    assert list(code)[-1] == "CifarExampleGen"


def test_a_cached_run_does_not_become_the_maker(traced, refused):
    assert refused.record["stages"]["CifarExampleGen"]["cached"]
    examples = next(a for a in traced.artifacts.values() if a.type == "Examples")
    generated = next(e for e in traced.executions if e.stage == "CifarExampleGen")
    assert examples.made_by == generated.id
    assert examples.uri.endswith(f"/{generated.id}")


def test_an_unknown_version_is_refused_and_the_known_ones_named(connection, pushed):
    with pytest.raises(LookupError, match=f"Known: {pushed.record['pushed_version']}"):
        lineage.trace(connection, "1", {})


def test_the_command_prints_text_json_and_a_graph(output, pushed, traced):
    def printed(*options: str) -> str:
        command = cifar("lineage", "--output", str(output), *options)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    text = printed(pushed.record["pushed_version"])
    assert all(f"{name} " in text for name in BATCH_FILES)
    assert all(checksum in text for checksum in traced.checksums.values())
    found = json.loads(printed("--json"))
    assert found["version"] == pushed.record["pushed_version"]
    assert found["checksums"] == traced.checksums
    graph = printed("--dot")
    assert graph.startswith("digraph lineage {")
    for execution in traced.executions:
        for artifact in execution.inputs:
            assert f"a{artifact} -> e{execution.id};" in graph
