"""Records the files of each node's outputs, and checks them before the cache offers them.

TFX reuses the outputs of an equal execution as long as their folders exist
(tfx/orchestration/portable/cache_utils.py). It would train on a shard that was deleted, cut or
corrupted since.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.orchestration import metadata
from tfx.orchestration.portable import cache_utils, execution_publish_utils, launcher
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import execution_result_pb2

from data_sources.download import file_digest

log = logging.getLogger(__name__)

FILES_PROPERTY = "files"  # of an artifact: JSON, bytes and SHA-256 by path
PUSHED_TO = "pushed_destination"  # of a push: the version, which is outside its artifact
READERS = 2  # threads; SHA-256 releases the interpreter lock


class RecordingLauncher(launcher.Launcher):
    """Publishes a node's outputs together with the record of their files."""

    def _publish_successful_execution(
        self,
        execution_id: int,
        contexts: list[metadata_store_pb2.Context],
        output_dict: dict[str, list[types.Artifact]],
        executor_output: execution_result_pb2.ExecutorOutput,
    ) -> None:
        # One transaction, so that no execution is complete without the record of its files.
        with self._mlmd_connection as handle:
            execution_publish_utils.publish_succeeded_execution(
                handle, execution_id, contexts, output_dict, with_files(executor_output)
            )


def with_files(
    executor_output: execution_result_pb2.ExecutorOutput,
) -> execution_result_pb2.ExecutorOutput:
    """Returns an executor's output with the record of each artifact's files."""
    for output in executor_output.output_artifacts.values():
        for artifact in output.artifacts:
            sizes = find_files(artifact)
            digests = hash_files(list(sizes))
            record = {path: (sizes[path], digests[path]) for path in sizes}
            artifact.custom_properties[FILES_PROPERTY].string_value = json.dumps(record)
    return executor_output


@contextlib.contextmanager
def only_whole_outputs(node: str, say: Callable[[str], None]) -> Iterator[None]:
    """Lets TFX's cache offer only outputs whose files match their record.

    Others are marked as deleted in the metadata, so that the node runs again.

    Args:
        node: The name of the node that is launched in the block.
        say: Called with a line about the file that differs.
    """

    def get_whole_outputs(
        metadata_handle: metadata.Metadata, cache_context: metadata_store_pb2.Context
    ) -> dict[str, list[types.Artifact]] | None:
        store = metadata_handle.store
        executions = filter(
            execution_lib.is_execution_successful,
            store.get_executions_by_context(cache_context.id),
        )
        for execution in execution_lib.sort_executions_newest_to_oldest(executions):
            outputs = cache_utils._get_outputs_of_execution(metadata_handle, execution.id)
            if outputs is None:
                continue
            artifacts = [one.mlmd_artifact for output in outputs.values() for one in output]
            difference = next(filter(None, map(find_difference, artifacts)), "")
            if not difference:
                return outputs
            line = f"{node} runs again: {difference}."
            log.warning(line)
            say(f"  {line}")
            for artifact in artifacts:
                artifact.state = metadata_store_pb2.Artifact.DELETED
            store.put_artifacts(artifacts)
        return None

    stock = cache_utils.get_cached_outputs
    cache_utils.get_cached_outputs = get_whole_outputs
    try:
        yield
    finally:
        cache_utils.get_cached_outputs = stock


def find_difference(artifact: metadata_store_pb2.Artifact) -> str:
    """Returns how an artifact's files differ from their record; empty if they do not."""
    if FILES_PROPERTY not in artifact.custom_properties:
        return f"{artifact.uri} has no recorded checksums"
    try:
        record = json.loads(artifact.custom_properties[FILES_PROPERTY].string_value)
        record = {path: (int(size), digest) for path, (size, digest) in record.items()}
    except (ValueError, TypeError, AttributeError):  # SQLite does not detect corrupted text
        return f"{artifact.uri} has a damaged record of its files"
    sizes = find_files(artifact)
    for path, (size, _) in record.items():
        if path not in sizes:
            return f"{path} is missing"
        if sizes[path] != size:
            return f"{path} has {sizes[path]:,} bytes, expected {size:,}"
    if added := sizes.keys() - record.keys():
        return f"{min(added)} was added later"
    try:
        digests = hash_files(list(record))
    except OSError as error:
        return f"{error.filename or artifact.uri} cannot be read ({error.strerror})"
    for path, (_, digest) in record.items():
        if digests[path] != digest:
            return f"{path} does not match its recorded checksum"
    return ""


def find_files(artifact: metadata_store_pb2.Artifact) -> dict[str, int]:
    """Returns the bytes of each file of an artifact, and of the version it was pushed to."""
    places = [artifact.uri]
    if PUSHED_TO in artifact.custom_properties:
        places.append(artifact.custom_properties[PUSHED_TO].string_value)
    return {
        str(path): path.stat().st_size
        for place in places
        for path in sorted(Path(place).rglob("*"))
        if path.is_file()
    }


def hash_files(paths: Sequence[str]) -> dict[str, str]:
    """Returns the SHA-256 of each file by its path.

    Raises:
        OSError: One cannot be read.
    """
    with ThreadPoolExecutor(READERS) as pool:
        digests = pool.map(lambda path: file_digest(Path(path), "sha256").hex(), paths)
        return dict(zip(paths, digests, strict=True))
