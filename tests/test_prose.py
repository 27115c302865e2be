"""The prose of the documents: what a linter of English cannot know."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_def.code_version import ROOT

DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "kubeflow/README.md",
]
DOCUMENTS += [str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))]
UNIDIOMATIC = {
    r"\d %": "write 80.2%, without a space",
    r"(?<![Tt]here )\b(is|are|was|were) no (?!longer\b|more\b)": "write `is not a`",
    r"\bothers than\b": "write `other than`",
    r"\b[Ww]anted (of|was)\b": "write `the goal is`",
    r"\bso many\b": "give the number, or write `how many`",
    r"\bas ever\b": "leave it out, or write `as usual`",
    r"\b([Nn]obody|[Ww]hoever)\b": "name the person or the program",
    r"\bof late\b": "write `recent`",
}


def prose(name: str) -> str:
    """Returns a document without its code."""
    text = (ROOT / name).read_text()
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`]*`", "", text)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_written_in_idiomatic_english(name):
    text = " ".join(prose(name).split())
    found = {
        match[0]: advice
        for pattern, advice in UNIDIOMATIC.items()
        for match in re.finditer(rf".{{0,30}}{pattern}.{{0,20}}", text)
    }
    assert found == {}


def test_the_readme_has_at_most_150_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_that_are_there(name):
    document = ROOT / name
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def lint(*documents) -> subprocess.CompletedProcess:
    linter = Path(sys.executable).with_name("proselint")
    command = [ROOT / "scripts/prose", linter, *documents]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_linter_of_prose_reads_past_code_and_names_the_line(tmp_path):
    (tmp_path / "good.md").write_text("Run it:\n\n```\nrun\nrun\n```\n")
    (tmp_path / "bad.md").write_text("```\ncode\n```\nThis is is wrong.\n")
    assert lint(tmp_path / "good.md").returncode == 0
    found = lint(tmp_path / "good.md", tmp_path / "bad.md")
    assert found.returncode == 1
    assert found.stdout.startswith(f"{tmp_path / 'bad.md'}:4:6: lexical_illusions")


def test_the_linter_of_prose_finds_nothing_in_the_documents():
    assert lint(*DOCUMENTS).stdout == ""


def test_a_linter_that_is_missing_fails_the_check():
    done = subprocess.run(
        [ROOT / "scripts/prose", "absent-linter", "README.md"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "absent-linter is not installed" in done.stderr
