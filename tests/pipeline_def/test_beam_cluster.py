"""Installing, starting and stopping an engine, without one: programs of ours in its place."""

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_def.beam import cluster, engine_jars, runner
from tests.processes import is_running, wait_until

JAR = b"the pinned bytes"


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """The only folder of the PATH, with a JDK 17."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    program(folder / "java", "import sys; print('openjdk version \"17.0.1\"', file=sys.stderr)")
    program(folder / "javac", "print('javac 17.0.1')")
    return folder


def program(path: Path, code: str) -> None:
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Returns where engines go; Flink is one jar."""
    pom = tmp_path / "poms" / "flink"
    pom.mkdir(parents=True)
    (pom / "jars.sha256").write_text(f"{hashlib.sha256(JAR).hexdigest()}  flink.jar\n")
    monkeypatch.setattr(engine_jars, "_POMS", pom.parent)
    return tmp_path / "engines"


def maven(programs: Path, brings: dict[str, bytes]) -> None:
    """Makes a Maven that brings these files, once."""
    program(
        programs / "mvn",
        f"import pathlib, sys; target = pathlib.Path(sys.argv[-1].partition('=')[2])\n"
        f"for name, content in {brings!r}.items(): (target / name).write_bytes(content)\n"
        f"pathlib.Path({str(programs / 'mvn')!r}).unlink()",
    )


def test_an_engine_is_installed_once(programs, folder):
    maven(programs, {"flink.jar": JAR})
    assert engine_jars.install("flink", folder)
    assert not engine_jars.install("flink", folder)
    assert [path.name for path in (folder / "flink").iterdir()] == ["jars"]


def test_a_damaged_engine_is_named_and_installed_again(programs, folder):
    maven(programs, {"flink.jar": JAR})
    engine_jars.install("flink", folder)
    (folder / "flink/jars/flink.jar").write_bytes(JAR[:-1])
    with pytest.raises(FileNotFoundError, match=r"flink\.jar has SHA-256 .*cifar beam install"):
        cluster.start(cluster.Cluster("flink", folder))
    maven(programs, {"flink.jar": JAR})
    assert engine_jars.install("flink", folder)
    assert (folder / "flink/jars/flink.jar").read_bytes() == JAR


@pytest.mark.parametrize(
    ("brings", "message"),
    [
        ({"flink.jar": b"other bytes"}, r"not the pinned ones: flink\.jar has SHA-256"),
        ({}, r"not the pinned ones: 1 are missing, flink\.jar among them"),
        ({"flink.jar": JAR, "a.jar": b""}, r"a\.jar does not belong to them"),
    ],
)
def test_other_jars_than_the_pinned_ones_are_refused(programs, folder, brings, message):
    maven(programs, brings)
    with pytest.raises(RuntimeError, match=message):
        engine_jars.install("flink", folder)
    assert list((folder / "flink").iterdir()) == []


def test_what_maven_says_is_shown_when_it_fails(programs, folder):
    program(programs / "mvn", "raise SystemExit('repository unreachable')")
    with pytest.raises(RuntimeError, match=r"could not download flink:\nrepository unreach"):
        engine_jars.install("flink", folder)


def test_a_missing_program_is_named(programs, folder):
    with pytest.raises(FileNotFoundError, match=r"no Maven .*apt-get install maven"):
        engine_jars.install("flink", folder)
    program(programs / "javac", "print('javac 1.8.0_402')")
    with pytest.raises(FileNotFoundError, match=r"is Java 8\. Install a JDK, 11 or 17"):
        engine_jars.install("flink", folder)
    (programs / "javac").unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no javac\. Install a JDK, 11 or 17"):
        engine_jars.install("flink", folder)


def test_each_engine_s_checksums_are_those_of_its_jars():
    for engine in runner.ENGINES:
        pinned = engine_jars.pinned_checksums(engine)
        assert any(name.startswith(f"beam-runners-{engine}-") for name in pinned)
        assert all(name.endswith(".jar") and len(sha) == 64 for name, sha in pinned.items())


@pytest.fixture
def installed(programs, folder) -> cluster.Cluster:
    maven(programs, {"flink.jar": JAR})
    engine_jars.install("flink", folder)
    return cluster.Cluster("flink", folder, port=free_ports())


def free_ports() -> int:
    """Returns the first of three free ports."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return min(one.getsockname()[1], 65_000)


def test_a_port_that_is_taken_is_named(installed):
    with socket.socket() as other:
        other.bind(("127.0.0.1", installed.ports[2]))
        other.listen()
        with pytest.raises(OSError, match=rf"^Port {installed.ports[2]} .* is taken.*--port N"):
            cluster.start(installed)


def test_an_engine_that_does_not_start_leaves_its_last_words_and_no_process(
    programs, installed
):
    program(
        programs / "java",
        "import sys\nif '-version' in sys.argv: sys.exit('version \"17\"')\n"
        "if 'taskmanager-2' in str(sys.argv): sys.exit('out of slots')\n"
        "import time; time.sleep(60)",
    )
    with pytest.raises(RuntimeError, match=r"taskmanager-2 ended\. (?s:.*)\nout of slots"):
        cluster.start(installed)
    assert cluster.running(installed) == []


PARENT = """
import subprocess, time
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_stop_ends_a_process_and_what_it_started(installed, monkeypatch):
    mark = [f"-Dcifar.home={installed.home}", "-Dcifar.name=taskmanager-1", "-Dcifar.port=5000"]
    monkeypatch.undo()  # the PATH
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *mark],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    child = int(parent.stdout.readline())
    assert cluster.running(installed) == [cluster.Process("taskmanager-1", parent.pid, 5000)]
    with pytest.raises(LookupError, match="is incomplete"):
        cluster.find("flink", installed.folder)
    assert cluster.stop(installed)
    assert parent.wait() != 0
    wait_until(lambda: not is_running(child))
    assert not cluster.stop(installed)


def test_a_run_on_an_engine_that_does_not_run_says_how_to_start_it(tmp_path):
    with pytest.raises(ValueError, match=r"does not run: `cifar beam start flink`.*runner-url"):
        runner.choose("flink", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
