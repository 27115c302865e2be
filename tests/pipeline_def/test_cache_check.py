"""Real nodes on tiny batches: a cached output is unchanged, or the node runs again."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata, pipeline

from components.baseline_model import BaselineModel
from components.example_gen import CifarExampleGen
from components.transform import Transform
from data_sources.options import DEFAULT_OPTIONS
from pipeline_def import cache_check, launch
from serving.baseline import Candidate

OTHERS = ["OtherExampleGen", "BaselineModel"]
NODES = ["CifarExampleGen", *OTHERS, "Transform"]


class Runs:
    """Runs the quick nodes in one output folder, and keeps the messages."""

    def __init__(self, cifar_dir: Path, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.connection = metadata.sqlite_metadata_connection_config(f"{folder}/mlmd.sqlite")
        examples = CifarExampleGen(str(cifar_dir), "tiny", {}, DEFAULT_OPTIONS)
        others = CifarExampleGen(str(cifar_dir), "tiny", {}, DEFAULT_OPTIONS)
        baseline = BaselineModel(
            *(str(folder / "serving"), "none", "best", Candidate("tiny")),
            schema=others.with_id("OtherExampleGen").outputs["schema"],
        )
        transform = Transform(
            examples=examples.outputs["examples"],
            schema=examples.outputs["schema"],
            preprocessing_fn="trainer_module.preprocessing.preprocessing_fn",
            materialize=False,
            disable_statistics=True,
            disable_analyzer_cache=True,
            force_tf_compat_v1=True,
        )
        self.definition = pipeline.Pipeline(
            pipeline_name="quick-nodes",
            pipeline_root=str(folder / "pipeline"),
            components=[examples, others, baseline, transform],
            enable_cache=True,
        )

    def run(self) -> list[str]:
        """Returns the nodes that came from the cache."""
        self.said.clear()

        @contextlib.contextmanager
        def watch(name):
            yield lambda cached: None

        nodes = launch.run_nodes(self.definition, self.connection, watch, self.said.append)
        return [stage.name for stage in nodes if stage.cached]

    def newest(self, pattern: str) -> Path:
        """Returns the file that a pattern matches, from the newest artifact."""
        files = self.folder.glob(f"pipeline/{pattern}")
        return max(files, key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def runs(cifar_dir, tmp_path_factory) -> Runs:
    runs = Runs(cifar_dir, tmp_path_factory.mktemp("output"))
    runs.run()
    assert runs.run() == NODES
    assert runs.said == []
    return runs


def delete(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def add(path: Path) -> None:
    path.with_name(f"{path.name}.more").write_bytes(path.read_bytes())


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


SHARD = "CifarExampleGen/examples/*/Split-train/data_tfrecord-00002-of-00005"
GRAPH = "Transform/transform_graph/*/transform_fn/saved_model.pb"
SCHEMA = "CifarExampleGen/schema/*/schema.pbtxt"


@pytest.mark.parametrize(
    ("damage", "pattern", "reason"),
    [
        (delete, SHARD, "is missing"),
        (cut, SHARD, "bytes, expected"),
        (empty, SHARD, "has 0 bytes"),
        (flip, SHARD, "does not match its recorded checksum"),
        (add, SHARD, "was added later"),
        (flip, GRAPH, "does not match its recorded checksum"),
        (remove_folder, SCHEMA, "is missing"),
        (cut, SCHEMA, "bytes, expected"),
    ],
)
def test_a_damaged_output_is_made_again_and_the_file_named(runs, damage, pattern, reason):
    path = runs.newest(pattern)
    node = pattern.split("/")[0]
    damage(path)
    cached = runs.run()
    assert node not in cached
    (line,) = runs.said
    assert line.startswith(f"  {node} runs again: {path}")
    assert reason in line
    assert runs.newest(pattern) != path
    assert runs.run() == NODES
    assert runs.said == []


def test_a_node_that_does_not_read_the_damaged_output_stays_cached(runs):
    flip(runs.newest(SCHEMA))
    assert runs.run() == OTHERS


def test_an_output_without_a_record_is_not_trusted(runs):
    with metadata.Metadata(runs.connection) as handle:
        newest = handle.store.get_artifacts_by_type("TransformGraph")[-1]
        del newest.custom_properties[cache_check.FILES_PROPERTY]
        handle.store.put_artifacts([newest])
    assert runs.run() == ["CifarExampleGen", *OTHERS]
    assert runs.said == [f"  Transform runs again: {newest.uri} has no recorded checksums."]


@pytest.mark.parametrize("record", ["", "{", "[1]", '{"a": 1}', '{"a": [1]}'])
def test_a_damaged_record_is_not_trusted(tmp_path, record):
    artifact = metadata_store_pb2.Artifact(uri=str(tmp_path))
    artifact.custom_properties[cache_check.FILES_PROPERTY].string_value = record
    assert "damaged record" in cache_check.find_difference(artifact)


def test_the_version_of_a_push_is_part_of_its_record(tmp_path):
    version = tmp_path / "serving/cifar10/1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"a model")
    push = metadata_store_pb2.Artifact(uri=str(tmp_path / "push"))
    push.custom_properties[cache_check.PUSHED_TO].string_value = str(version)
    record = {path: (size, "") for path, size in cache_check.find_files(push).items()}
    assert list(record) == [str(version / "saved_model.pb")]
    push.custom_properties[cache_check.FILES_PROPERTY].string_value = json.dumps(record)
    assert "does not match" in cache_check.find_difference(push)
    (version / "saved_model.pb").unlink()
    assert cache_check.find_difference(push) == f"{version / 'saved_model.pb'} is missing"
