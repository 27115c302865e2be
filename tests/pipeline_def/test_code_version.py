import pytest

from pipeline_def import code_version as module
from pipeline_def.code_version import code_version


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of three modules: run imports model inside a function, other is alone."""
    package = tmp_path / "trainer_module"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "run.py").write_text("def run_fn():\n    from trainer_module import model\n")
    (package / "model.py").write_text("RATE = 1\n")
    (package / "other.py").write_text("UNUSED = 1\n")
    (tmp_path / "schema.pbtxt").write_text("feature {}\n")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


def test_an_edited_module_changes_the_version(project):
    before = code_version("trainer_module.run")
    (project / "trainer_module/run.py").write_text("def run_fn():\n    return 2\n")
    assert code_version("trainer_module.run") != before


def test_an_edit_of_what_is_imported_changes_the_version(project):
    before = code_version("trainer_module.run")
    (project / "trainer_module/model.py").write_text("RATE = 2\n")
    assert code_version("trainer_module.run") != before


def test_an_edit_elsewhere_leaves_the_version(project):
    before = code_version("trainer_module.run")
    (project / "trainer_module/other.py").write_text("UNUSED = 2\n")
    assert code_version("trainer_module.run") == before


def test_an_edited_data_file_changes_the_version(project):
    before = code_version(files=("schema.pbtxt",))
    (project / "schema.pbtxt").write_text("feature { name: 'x' }\n")
    assert code_version(files=("schema.pbtxt",)) != before


def test_a_module_that_is_not_there_is_an_error(project):
    with pytest.raises(ModuleNotFoundError, match=r"trainer_module\.absent"):
        code_version("trainer_module.absent")
