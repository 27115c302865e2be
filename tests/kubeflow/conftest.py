"""One cluster for the tests that run the compiled pipeline."""

from collections.abc import Iterator

import pytest
import yaml

from benchmarks.emulator import object_store
from benchmarks.emulator.backend import Backend
from kubeflow.cluster import Cluster
from kubeflow.parameters import RunParameters

SETTINGS = ["max_accuracy_drop=0.02"]


@pytest.fixture(scope="session")
def documents() -> list[dict]:
    """The compiled pipeline; to be read only."""
    from kubeflow.compile import compile_pipeline

    return compile_pipeline(
        "registry.test/cifar:1", Cluster(), RunParameters(preset="smoke"), SETTINGS
    )


@pytest.fixture(scope="session")
def pipeline_yaml(documents) -> str:
    return yaml.safe_dump_all(documents)


@pytest.fixture(scope="module")
def backend(tmp_path_factory) -> Iterator[Backend]:
    directory = tmp_path_factory.mktemp("cluster")
    (directory / "s3").mkdir()
    with object_store.serve(directory / "s3", "mlpipeline") as store:
        yield Backend(store, directory)
