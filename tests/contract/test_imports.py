import gc
import subprocess
import sys

import pytest

from contract import imports


def test_collection_waits_for_the_imports_and_then_leaves_them_alone():
    try:
        with imports.fast():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_collection_goes_on_after_an_import_that_fails():
    try:
        with pytest.raises(ImportError), imports.fast():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()


def test_a_module_of_a_package_comes_without_the_package_s_others(tmp_path, monkeypatch):
    (tmp_path / "outer_box/box").mkdir(parents=True)
    (tmp_path / "outer_box/__init__.py").touch()
    (tmp_path / "outer_box/box/__init__.py").write_text(
        "from outer_box.box.heavy import weight\n"
    )
    (tmp_path / "outer_box/box/heavy.py").write_text("weight = 9\n")
    (tmp_path / "outer_box/box/light.py").write_text("weight = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    imports.import_one_by_one("outer_box.box")
    # As `from outer_box.box import light` does.
    box = __import__("outer_box.box", fromlist=["light"])

    assert box.light.weight == 1
    assert "outer_box.box.heavy" not in sys.modules
    assert not hasattr(box, "__wrapped__")
    assert box.weight == 9  # the package's own names are there when asked for
    assert "outer_box.box.heavy" in sys.modules


def test_a_step_imports_no_client_of_kubernetes_or_docker():
    code = (
        "import sys, kubeflow.entrypoint; "
        "print({'kubernetes', 'docker', 'keras_tuner'} & set(sys.modules)); "
        "from tfx.components import Tuner; print(Tuner.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\nTuner\n", done.stderr
