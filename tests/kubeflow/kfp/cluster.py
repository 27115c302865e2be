"""The stores and services around the pods of Kubeflow Pipelines, on one machine."""

import contextlib
import dataclasses
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_metadata

from benchmarks.emulator import object_store
from tests.kubeflow.kfp import api_stub, metadata_service
from tests.kubeflow.kfp.argo import Run
from tests.kubeflow.kfp.pod import Node
from tests.kubeflow.kfp.workflow import binary, compile_run

BUCKET = "mlpipeline"
MINIO_SECRET = {"accesskey": "minio", "secretkey": "minio123"}


@dataclasses.dataclass(frozen=True)
class KfpCluster:
    """One installation, whose stores outlive a run."""

    node: Node
    store: object_store.ObjectStore
    metadata: ml_metadata.MetadataStore
    volume: Path

    def submit(self, text: str, **parameters: Any) -> Run:
        """Returns a run, not yet started, of an uploaded file."""
        return Run(compile_run(text, str(uuid.uuid4()), **parameters), self.node)


@contextlib.contextmanager
def start(directory: Path, secrets: api_stub.Objects | None = None) -> Iterator[KfpCluster]:
    """Starts the services, which end with the context.

    Args:
        directory: For the services and the pods.
        secrets: Secrets of the namespace, besides the object store's.
    """
    for folder in ("s3", "volume", "pods"):
        (directory / folder).mkdir()
    secrets = {"mlpipeline-minio-artifact": MINIO_SECRET, **(secrets or {})}
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(object_store.serve(directory / "s3", BUCKET))
        metadata = stack.enter_context(metadata_service.serve(directory / "mlmd.sqlite"))
        tasks = stack.enter_context(task_cache(directory / "task-cache.log"))
        service_account = directory / "serviceaccount"
        api = stack.enter_context(api_stub.serve(service_account, {}, secrets))
        addresses = {
            "KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT": api,
            "METADATA_GRPC_SERVICE_SERVICE_HOST METADATA_GRPC_SERVICE_SERVICE_PORT": metadata,
            "MINIO_SERVICE_SERVICE_HOST MINIO_SERVICE_SERVICE_PORT": store.address,
            "ML_PIPELINE_SERVICE_HOST ML_PIPELINE_SERVICE_PORT_GRPC": tasks,
        }
        host, port = metadata.split(":")
        node = Node(
            directory / "pods",
            services={
                name: value
                for names, address in addresses.items()
                for name, value in zip(
                    names.split(), address.rpartition("/")[2].split(":"), strict=True
                )
            },
            service_account=service_account,
            volumes={"cifar10": directory / "volume"},
            secrets=secrets,
            config_maps={
                "metadata-grpc-configmap": {
                    "METADATA_GRPC_SERVICE_HOST": host,
                    "METADATA_GRPC_SERVICE_PORT": port,
                }
            },
        )
        client = metadata_service.connect(metadata)
        yield KfpCluster(node, store, client, directory / "volume")


@contextlib.contextmanager
def task_cache(log: Path) -> Iterator[str]:
    """Serves the cache of tasks; yields the address."""
    (port,) = object_store.free_ports(1)
    address = f"127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binary("backend"), "task-cache", address], stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the task cache did not start"
            time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()
