"""A real S3 server on this machine: SeaweedFS, which Kubeflow Pipelines ships with."""

import contextlib
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import requests

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class ObjectStore:
    """A bucket at an S3 address."""

    def __init__(self, address: str, bucket: str) -> None:
        self.address = address
        self.bucket = bucket
        self._url = f"{address}/{bucket}"
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between here and 127.0.0.1

    def make(self) -> None:
        self._session.put(self._url).raise_for_status()

    def put(self, key: str, path: Path) -> None:
        self._session.put(f"{self._url}/{quote(key)}", path.read_bytes()).raise_for_status()

    def get(self, key: str) -> bytes:
        response = self._session.get(f"{self._url}/{quote(key)}")
        response.raise_for_status()
        return response.content

    def keys(self, prefix: str) -> list[str]:
        """Returns every key that begins with `prefix`, page by page."""
        found: list[str] = []
        query = {"list-type": "2", "prefix": prefix}
        while True:
            response = self._session.get(self._url, params=query)
            response.raise_for_status()
            page = xml.etree.ElementTree.fromstring(response.content)
            found += [key.text or "" for key in page.iter(f"{NAMESPACE}Key")]
            token = page.findtext(f"{NAMESPACE}NextContinuationToken")
            if not token:
                return found
            query["continuation-token"] = token


@contextlib.contextmanager
def serve(directory: Path, bucket: str) -> Iterator[ObjectStore]:
    """Runs the server with its data in `directory`; yields a new bucket."""
    ports = dict(zip(("master", "volume", "filer", "s3"), free_ports(4), strict=True))
    with (directory / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("weed")), "server", "-s3"),
                *(f"-{name}.port={port}" for name, port in ports.items()),
                *(f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        address = f"http://127.0.0.1:{ports['s3']}"
        wait_until_up(address, process)
        store = ObjectStore(address, bucket)
        store.make()
        yield store
    finally:
        process.kill()
        process.wait()


def wait_until_up(address: str, process: subprocess.Popen) -> None:
    """Returns when the server answers; fails an assertion if it ended or takes a minute."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(address, proxies={"http": ""}).ok:
                return
        assert process.poll() is None, "SeaweedFS ended; see weed.log"
        assert time.monotonic() < deadline, "SeaweedFS did not start; see weed.log"
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Returns free ports; low enough, because gRPC uses the port 10,000 above each."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            if (port := listener.getsockname()[1]) < 55_000:
                ports.append(port)
        return ports
