"""The Kubernetes API of one namespace, over TLS: the objects that driver and launcher read."""

import base64
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.kubeflow import kubernetes_api
from tests.kubeflow.kfp.workflow import NAMESPACE

Objects = Mapping[str, Mapping[str, str]]  # name → key → value


@contextlib.contextmanager
def serve(folder: Path, config_maps: Objects, secrets: Objects) -> Iterator[str]:
    """Serves the objects; yields the address.

    Args:
        folder: For the files that Kubernetes mounts into pods: namespace, token, certificate.
        config_maps: The namespace's ConfigMaps.
        secrets: The namespace's Secrets, not yet encoded.
    """
    paths = {f"configmaps/{name}": {"data": dict(data)} for name, data in config_maps.items()}
    for name, data in secrets.items():
        encoded = {field: base64.b64encode(value.encode()) for field, value in data.items()}
        paths[f"secrets/{name}"] = {"data": {f: code.decode() for f, code in encoded.items()}}
    with kubernetes_api.serve(folder, NAMESPACE, _handler(paths)) as address:
        yield address


def _handler(objects: Mapping[str, Any]) -> type[kubernetes_api.Handler]:
    class Handler(kubernetes_api.Handler):
        def do_GET(self) -> None:  # noqa: N802
            name = self.path.removeprefix(f"/api/v1/namespaces/{NAMESPACE}/")
            if not self.is_known():
                return
            if name in objects:
                self.answer(200, {**objects[name], "metadata": {"name": name.split("/")[1]}})
            else:
                self.refuse(404, "NotFound", f"{self.path} not found")

    return Handler
