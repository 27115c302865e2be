"""The pipeline with its metadata on a real MariaDB and a real PostgreSQL server."""

import dataclasses
import json
import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract import metadata
from pipeline_def.config import find_preset
from tests import finished_runs, metadata_servers


@pytest.fixture(scope="module", params=metadata_servers.SERVERS)
def url(request) -> Iterator[str]:
    program = metadata_servers.missing(request.param)
    if program:
        pytest.skip(f"{program} is not installed")
    with metadata_servers.SERVERS[request.param]() as url:
        yield url


def cifar(command: list[str], url: str) -> str:
    """Returns what a command printed, with the URL in its environment."""
    environment = os.environ | {"CIFAR_METADATA_URL": url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def record(output: Path) -> dict:
    return json.loads((output / "run.json").read_text())


def _check_together(url: str, barrier) -> None:
    from ml_metadata.metadata_store import metadata_store  # noqa: F401  slow to import

    barrier.wait()
    metadata.check("", url)


def test_the_first_clients_of_a_server_may_come_at_once(url):
    """ml-metadata itself lets one of them create the tables and fails the others."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(4)
    new = url.replace("/mlmd", "/together")
    clients = [spawn.Process(target=_check_together, args=(new, barrier)) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [client.exitcode for client in clients] == [0] * 4


def test_a_new_database_is_not_used_for_the_artifacts_of_another(url, tmp_path):
    """It would give their numbers to new executions, and old and new files would be mixed."""
    from pipeline_def import execution

    shard = tmp_path / "pipeline/CifarExampleGen/examples/1/Split-train/old.gz"
    shard.parent.mkdir(parents=True)
    shard.touch()
    new = url.replace("/mlmd", "/new")
    config = dataclasses.replace(
        find_preset("smoke"), output_dir=str(tmp_path), metadata_url=new
    )
    with pytest.raises(ValueError, match="does not know execution 1, which wrote") as raised:
        execution.open_metadata(config)
    assert metadata_servers.PASSWORD not in str(raised.value)
    assert f"or move {tmp_path / 'pipeline'} alone away" in str(raised.value)
    assert shard.exists()
    (tmp_path / "pipeline").rename(tmp_path / "away")
    execution.open_metadata(config)


def test_runs_share_their_metadata_through_a_server(url, tmp_path):
    output = tmp_path / "output"
    cifar(finished_runs.smoke_run(output), url)
    first = record(output)
    assert first["status"] == "pushed"
    assert not (output / "metadata.sqlite").exists()
    lineage = finished_runs.cifar("lineage", first["pushed_version"], "--output", str(output))
    assert "data_batch_1" in cifar(lineage, url)
    cifar(finished_runs.smoke_run(output), url)
    again = record(output)["stages"]
    assert all(stage["cached"] for name, stage in again.items() if name != "ReportGen")
    files = [file for file in output.rglob("*") if file.is_file()]
    password = metadata_servers.PASSWORD.encode()
    assert not [file for file in files if password in file.read_bytes()]
    # Among millions of bytes of weights, any four can stand by chance.
    others = [file for file in files if ".data-" not in file.name]
    assert not [file for file in others if b"w:rd" in file.read_bytes()]


def test_a_wrong_password_is_refused_without_a_word_of_it(url, tmp_path):
    wrong = url.replace(metadata_servers.PASSWORD, "s3cret'; x=\\")
    command = finished_runs.smoke_run(tmp_path / "output")
    environment = os.environ | {"CIFAR_METADATA_URL": wrong}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "s3cret" not in done.stdout + done.stderr
    files = [file for file in (tmp_path / "output").rglob("*") if file.is_file()]
    assert not [file for file in files if b"s3cret" in file.read_bytes()]
