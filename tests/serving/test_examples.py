"""The examples work when run as documented."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CLASS_COLOURS
from tests.serving.test_client import encoded

EXAMPLES = Path(__file__).parents[2] / "serving" / "examples"


@pytest.fixture(scope="module")
def frog(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("images") / "frog.png"
    path.write_bytes(encoded(CLASS_COLOURS[6], (100, 60)))
    return path


def output_of(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(server, frog):
    shown = output_of(EXAMPLES / "classify.sh", frog, server.rest_url, "colours")
    assert '"classes": "frog"' in shown


def test_python(server, frog):
    shown = output_of(
        sys.executable, EXAMPLES / "classify.py", frog, frog,
        "--server", server.rest_url, "--model", "colours",
    )  # fmt: skip
    assert shown.count("frog.png: frog (") == 2


def test_python_grpc(server):
    script = EXAMPLES / "classify_grpc.py"
    shown = output_of(sys.executable, script, server.grpc_target, "colours")
    assert shown.splitlines()[1] == "airplane"


def test_javascript(server, frog):
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    shown = output_of(node, EXAMPLES / "classify.mjs", server.rest_url, "colours", frog)
    assert shown.startswith(f"{frog}: frog (")
