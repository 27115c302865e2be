from pathlib import Path

import pytest

from pipeline_def import code_version as module
from pipeline_def.code_version import algorithm_version, code_version, source_files

TEAM = {
    "team_estimator/__init__.py": "",
    "team_estimator/run.py": '''"""A run."""
import os
from . import model
from .layers.dense import Dense

def run_fn():
    """Runs."""
    import team_tools.io  # what an import inside a function brings counts too
''',
    "team_estimator/model.py": "from . import losses\nRATE = 1\n",
    "team_estimator/losses.py": "LOSS = 1\n",
    "team_estimator/other.py": "UNUSED = 1\n",
    "team_estimator/layers/__init__.py": "from .initializers import ZEROS\n",
    "team_estimator/layers/initializers.py": "ZEROS = 0\n",
    "team_estimator/layers/dense.py": "class Dense:\n    SIZE = 1\n",
    "team_tools/io.py": "BYTES = 1\n",  # a folder without __init__.py is a package too
}
REACHED = {
    "team_estimator",
    "team_estimator.run",
    "team_estimator.model",
    "team_estimator.losses",
    "team_estimator.layers",
    "team_estimator.layers.initializers",
    "team_estimator.layers.dense",
    "team_tools.io",
}


@pytest.fixture
def team(tmp_path, monkeypatch) -> Path:
    """A folder with a team's own packages, on the Python path."""
    for name, source in TEAM.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    (tmp_path / "schema.pbtxt").write_text("feature {}\n")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def path_of(team: Path, name: str) -> Path:
    package = team.joinpath(*name.split("."))
    return package / "__init__.py" if package.is_dir() else package.with_suffix(".py")


def test_relative_imports_and_a_teams_own_packages_are_followed(team):
    assert source_files("team_estimator.run").keys() == REACHED


@pytest.mark.parametrize("name", sorted(REACHED))
def test_an_edit_of_what_is_imported_changes_the_version(team, name):
    before = code_version("team_estimator.run"), algorithm_version("team_estimator.run")
    with path_of(team, name).open("a") as file:
        file.write("EDITED = True\n")
    after = code_version("team_estimator.run"), algorithm_version("team_estimator.run")
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_an_edit_elsewhere_leaves_the_version(team):
    before = code_version("team_estimator.run")
    (team / "team_estimator/other.py").write_text("UNUSED = 2\n")
    assert code_version("team_estimator.run") == before


def test_an_edited_data_file_changes_the_version(team):
    before = code_version(files=("schema.pbtxt",))
    (team / "schema.pbtxt").write_text("feature { name: 'x' }\n")
    assert code_version(files=("schema.pbtxt",)) != before


def test_comments_docstrings_and_layout_leave_the_algorithm(team):
    before = code_version("team_estimator.run"), algorithm_version("team_estimator.run")
    path = team / "team_estimator/run.py"
    source = path.read_text()
    path.write_text(source.replace("Runs.", "Runs it.").replace("\n\n", "\n\n\n# New.\n"))
    assert algorithm_version("team_estimator.run") == before[1]
    assert code_version("team_estimator.run") != before[0]


def test_a_package_installed_among_libraries_is_followed_when_it_is_named(
    tmp_path, monkeypatch
):
    package = tmp_path / "site-packages" / "team_wheel"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from team_wheel import model\n")
    (package / "model.py").write_text("import numpy\n")
    (package.parent / "team_dependency.py").write_text("")
    (tmp_path / "team_local.py").write_text("import team_wheel, team_dependency\n")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.syspath_prepend(tmp_path)
    assert source_files("team_wheel").keys() == {"team_wheel", "team_wheel.model"}
    assert source_files("team_local").keys() == {"team_local"}


def test_no_library_is_taken_for_ours(team):
    names = source_files("components.example_gen")
    assert {name.partition(".")[0] for name in names} <= {
        "components",
        "contract",
        "data_sources",
        "trainer_module",
    }


@pytest.mark.parametrize("name", ["team_estimator.absent", "absent", "absent.run"])
def test_a_module_that_is_not_there_is_an_error(team, name):
    with pytest.raises(ModuleNotFoundError, match=f"There is no module {name} on the Python"):
        code_version(name)


def test_an_import_that_cannot_be_seen_is_an_error(team):
    (team / "team_estimator/losses.py").write_text("import team_secrets.losses\n")
    with pytest.raises(ModuleNotFoundError, match=r"losses\.py imports team_secrets\.losses"):
        code_version("team_estimator.run")


def test_an_optional_import_may_be_missing(team):
    (team / "team_estimator/losses.py").write_text(
        "try:\n    import team_secrets\nexcept ImportError:\n    team_secrets = None\n"
    )
    assert "team_estimator.losses" in source_files("team_estimator.run")
