"""Real clusters, for the tests of `make test-engines`, which installs them."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_def.beam import cluster, engine_jars
from tests.pipeline_def.engine.comparison import run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("engines")


@contextlib.contextmanager
def started(engine: str, folder: Path) -> Iterator[cluster.Cluster]:
    """Yields a cluster with the installed jars, in a folder and on ports of its own.

    As long as it runs, `cifar run --runner ENGINE` finds it.
    """
    installed = Path(os.environ.get(cluster.FOLDER_VARIABLE, cluster.DEFAULT_FOLDER))
    (folder / engine).mkdir()
    (folder / engine / "jars").symlink_to(engine_jars.jars_of(engine, installed).absolute())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = cluster.Cluster(engine, folder, min(port, 65_533))
    cluster.start(here)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(cluster.FOLDER_VARIABLE, str(folder))
            yield here
    finally:
        cluster.stop(here)


@pytest.fixture(scope="module")
def flink(tmp_path_factory) -> Iterator[cluster.Cluster]:
    with started("flink", tmp_path_factory.mktemp("engines")) as here:
        yield here


@pytest.fixture(scope="module")
def spark(tmp_path_factory) -> Iterator[cluster.Cluster]:
    with started("spark", tmp_path_factory.mktemp("engines")) as here:
        yield here


@pytest.fixture(scope="session")
def local_run(tmp_path_factory) -> dict:
    return run(tmp_path_factory.mktemp("local") / "output")
