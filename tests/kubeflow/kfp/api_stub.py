"""The Kubernetes API of one namespace, over TLS: the objects that driver and launcher read."""

import base64
import contextlib
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.kubeflow.kfp.workflow import NAMESPACE

TOKEN = "token-of-pipeline-runner"
Objects = Mapping[str, Mapping[str, str]]  # name → key → value


@contextlib.contextmanager
def serve(folder: Path, config_maps: Objects, secrets: Objects) -> Iterator[str]:
    """Serves the objects; yields the address.

    Args:
        folder: For the files that Kubernetes mounts into pods: namespace, token, certificate.
        config_maps: The namespace's ConfigMaps.
        secrets: The namespace's Secrets, not yet encoded.
    """
    folder.mkdir()
    (folder / "namespace").write_text(NAMESPACE)
    (folder / "token").write_text(TOKEN)
    key = folder.with_name("kubernetes.key")
    subject = ["-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(folder / "ca.crt")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files],
        check=True,
        capture_output=True,
    )
    paths = {f"configmaps/{name}": {"data": dict(data)} for name, data in config_maps.items()}
    for name, data in secrets.items():
        encoded = {field: base64.b64encode(value.encode()) for field, value in data.items()}
        paths[f"secrets/{name}"] = {"data": {f: code.decode() for f, code in encoded.items()}}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(paths))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(objects: Mapping[str, Any]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix(f"/api/v1/namespaces/{NAMESPACE}/")
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._answer(401, _status(401, "Unauthorized", "no such token"))
            elif name not in objects:
                self._answer(404, _status(404, "NotFound", f"{self.path} not found"))
            else:
                self._answer(200, {**objects[name], "metadata": {"name": name.split("/")[1]}})

        def _answer(self, code: int, body: Mapping[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }
