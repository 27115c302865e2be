"""What every Kubernetes API server has: TLS, the token of a service account, its errors."""

import contextlib
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "token-of-pipeline-runner"


class Handler(BaseHTTPRequestHandler):
    """Answers in JSON; for a subclass with the methods of HTTP."""

    def is_known(self) -> bool:
        """Returns whether the request has the token; answers it otherwise."""
        if self.headers["Authorization"].lower() == f"bearer {TOKEN}":
            return True
        self.refuse(401, "Unauthorized", "no such token")
        return False

    def refuse(self, code: int, reason: str, message: str) -> None:
        body = {"status": "Failure", "reason": reason, "message": message, "code": code}
        self.answer(code, {"kind": "Status", "apiVersion": "v1", **body})

    def answer(self, code: int, body: Mapping[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serve(folder: Path, namespace: str, handler: type[Handler]) -> Iterator[str]:
    """Serves an API on loopback; yields the address.

    Args:
        folder: For the files that Kubernetes mounts into pods: namespace, token, certificate.
        namespace: The pods' namespace.
        handler: Answers the requests.
    """
    folder.mkdir()
    (folder / "namespace").write_text(namespace)
    (folder / "token").write_text(TOKEN)
    key = folder.with_name("kubernetes.key")
    subject = ["-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(folder / "ca.crt")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files],
        check=True,
        capture_output=True,
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
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
