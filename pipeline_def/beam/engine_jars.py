"""The jars of Flink or Spark, and of Beam's job server for it, as Maven downloads them.

Which jars those are follows from jars/ENGINE/pom.xml; jars/ENGINE/jars.sha256 records the
checksum of each, so nothing else is ever run.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
MIN_JAVA = 11
_POMS = Path(__file__).with_name("jars")
_OVERRIDES = _POMS / "overrides"
_READ_BYTES = 1 << 20


def jars_of(engine: str, folder: Path) -> Path:
    """Returns where the jars of an engine are, or will be."""
    return folder / engine / "jars"


def install(engine: str, folder: Path) -> bool:
    """Downloads the jars of an engine, unless they are there already.

    Returns:
        Whether anything was downloaded.

    Raises:
        FileNotFoundError: There is no JDK, or no Maven.
        RuntimeError: Maven failed, or brought other jars than the pinned ones.
    """
    java("javac")
    jars = jars_of(engine, folder)
    if not damage(engine, jars):
        return False
    maven = shutil.which("mvn")
    if not maven:
        raise FileNotFoundError(
            "There is no Maven (mvn), which downloads the engine. Install it, for example with "
            "`apt-get install maven` or `brew install maven`."
        )
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".jars-", dir=jars.parent) as new:
        _download(maven, engine, Path(new))
        if found := damage(engine, Path(new)):
            raise RuntimeError(f"Maven's jars are not the pinned ones: {found}. Try again.")
        shutil.rmtree(jars, ignore_errors=True)
        shutil.copytree(new, jars, copy_function=os.replace)
    return True


def _download(maven: str, engine: str, target: Path) -> None:
    command = [maven, "-B", "-q", "-f", str(_POMS / engine / "pom.xml"), COPY]
    result = subprocess.run(
        [*command, "-DincludeScope=runtime", f"-DoutputDirectory={target}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(f"Maven could not download {engine}:\n{result.stdout.strip()}")


def damage(engine: str, jars: Path) -> str:
    """Returns how a folder of jars differs from the pinned ones; `` if it does not."""
    pinned = pinned_checksums(engine)
    found = {path.name for path in jars.iterdir()} if jars.is_dir() else set()
    if missing := pinned.keys() - found:
        return f"{len(missing)} are missing, {min(missing)} among them"
    if unknown := found - pinned.keys():
        return f"{min(unknown)} does not belong to them"
    for name, checksum in pinned.items():
        if (actual := _sha256(jars / name)) != checksum:
            return f"{name} has SHA-256 {actual}, not {checksum}"
    return ""


def pinned_checksums(engine: str) -> Mapping[str, str]:
    """Returns the SHA-256 of each jar of an engine by its name."""
    lines = (_POMS / engine / "jars.sha256").read_text().splitlines()
    return {name: checksum for checksum, name in (line.split() for line in lines)}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def make_overrides(jars: Path, target: Path) -> None:
    """Writes the jar of the classes that take the place of Beam's, to be put before the others.

    Raises:
        FileNotFoundError: There is no Java compiler.
        RuntimeError: It failed.
    """
    with tempfile.TemporaryDirectory() as classes:
        command = [java("javac"), "-nowarn", "-cp", f"{jars}/*", "-d", classes]
        sources = map(str, _OVERRIDES.glob("*.java"))
        result = subprocess.run([*command, *sources], capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"{_OVERRIDES} does not compile:\n{result.stderr}")
        with zipfile.ZipFile(target, "w") as jar:
            for file in Path(classes).rglob("*.class"):
                jar.write(file, file.relative_to(classes))


def java(program: str = "java") -> str:
    """Returns the path of a program of the Java development kit.

    Raises:
        FileNotFoundError: There is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    command = shutil.which(program, path=f"{home}/bin" if home else None)
    advice = (
        f"Install a JDK, {MIN_JAVA} or 17, for example with `apt-get install "
        "default-jdk-headless`, or set JAVA_HOME to where it is."
    )
    if not command:
        raise FileNotFoundError(
            f"There is no {program}{f' in {home}' if home else ''}. {advice}"
        )
    said = subprocess.run([command, "-version"], capture_output=True, text=True)
    found = re.search(r"(?:version \"|javac )(?:1\.)?(\d+)", said.stderr + said.stdout)
    if not found or int(found[1]) < MIN_JAVA:
        raise FileNotFoundError(f"{command} is Java {found[1] if found else '?'}. {advice}")
    return command
