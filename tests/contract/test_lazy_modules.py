import importlib
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from contract import lazy_modules


@pytest.fixture
def make(tmp_path, monkeypatch) -> Callable[..., None]:
    """Writes a package whose first use is delayed; `runs.ran` says which of its files ran."""
    finder = lazy_modules.LazyFinder()
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    (tmp_path / "runs.py").write_text("ran = []\n")

    def write(alone: str | tuple[str, ...], **files: str) -> None:
        finder.modules = {"outer.box": alone, "outer.crate": ()}
        (tmp_path / "outer/box").mkdir(parents=True)
        (tmp_path / "outer/__init__.py").touch()
        for name, text in files.items():
            text = f"import runs; runs.ran.append({name!r})\n{text}\n"
            (tmp_path / f"outer/box/{name}.py").write_text(text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def ran() -> list[str]:
    return importlib.import_module("runs").ran


def test_a_seldom_used_module_runs_when_a_name_of_it_is_used(make):
    make((), __init__="weight = 9\ndef __getattr__(name): return name.upper()")
    from outer import box  # type: ignore[import-not-found]

    __import__("outer.box")  # by another module
    assert not hasattr(box, "__warningregistry__")
    assert Path(box.__file__).name == "__init__.py"
    assert ran() == []
    assert box.colour == "COLOUR"  # from the module's own function
    assert box.weight == 9
    assert ran() == ["__init__"]
    assert importlib.util.find_spec("outer.box") is box.__spec__


def test_import_with_an_asterisk_gets_every_name(make):
    make((), __init__="weight = 9")
    names: dict[str, int] = {}
    exec("from outer.box import *", names)
    assert names["weight"] == 9


def test_a_package_runs_before_the_modules_in_it(make):
    make((), __init__="from outer.box import heavy\nheavy.weight += 1", heavy="weight = 9")
    import outer.box

    assert ran() == []
    heavy = importlib.import_module("outer.box.heavy")
    assert ran() == ["__init__", "heavy"]
    assert heavy is outer.box.heavy is sys.modules["outer.box.heavy"]
    assert heavy.weight == 10
    assert heavy.__spec__.loader.get_filename() == heavy.__file__


@pytest.mark.parametrize("alone", ["*", ("light",)])
def test_some_modules_come_without_their_package(make, alone):
    make(
        alone,
        __init__="from outer.box.heavy import weight",
        heavy="weight = 9",
        light="weight = 1",
    )
    from outer.box import light  # type: ignore[import-not-found]

    assert light.weight == sys.modules["outer"].box.light.weight == 1
    assert ran() == ["light"]
    assert sys.modules["outer"].box.weight == 9
    assert ran() == ["light", "__init__", "heavy"]


def test_a_name_that_a_module_lacks_is_missing_as_ever(make):
    make((), __init__="weight = 9")
    from outer import box

    for _ in range(2):
        with pytest.raises(AttributeError, match="box' has no attribute 'colour'"):
            _ = box.colour
    with pytest.raises(ImportError, match="cannot import name 'colour'"):
        exec("from outer.box import colour")
    assert ran() == ["__init__"]


def test_a_module_that_fails_fails_at_every_use(make):
    make((), __init__="raise OSError('no licence')")
    from outer import box

    for _ in range(2):
        with pytest.raises(OSError, match="no licence"):
            _ = box.weight
    assert ran() == ["__init__", "__init__"]


def test_two_threads_run_a_module_once(make):
    make((), __init__="import time; time.sleep(0.2)\nweight = 9")
    from outer import box

    weights: list[int] = []
    threads = [threading.Thread(target=lambda: weights.append(box.weight)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert weights == [9, 9]
    assert ran() == ["__init__"]


def test_a_module_that_is_not_installed_is_missing_as_ever(make):
    make(())
    with pytest.raises(ModuleNotFoundError, match=r"outer\.crate"):
        importlib.import_module("outer.crate")


def test_what_is_delayed_works_when_it_is_used():
    """Also after all of TFX is there, and in any order."""
    code = """
from contract import imports, lazy_modules
lazy_modules.make_lazy(lazy_modules.LARGE)
with imports.fast():
    import pipeline_def.pipeline
import sys
print({"google.cloud.bigquery.client", "google.cloud.pubsub_v1", "docker"} & set(sys.modules))
from google.cloud import bigquery, bigquery_storage_v1, pubsub
from googleapiclient import discovery
from google import api_core
import IPython, tfx.components
import tensorflow as tf
print(bigquery.Client.__name__, bigquery_storage_v1.BigQueryReadClient.__name__)
print(pubsub.PublisherClient.__name__, discovery.build.__name__)
print(api_core.check_python_version.__name__)
print(IPython.get_ipython())
print(tfx.components.Tuner.__name__)
print(tf.compat.v1.compat.as_text(b"x"), tf.compat.v2.compat.as_text(b"y"), flush=True)
import os; os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert done.stdout == (
        "set()\nClient BigQueryReadClient\nPublisherClient build\ncheck_python_version\n"
        "None\nTuner\nx y\n"
    ), done.stderr


def test_tensorflow_comes_without_keras_until_it_is_used():
    code = """
from contract import imports, lazy_modules
lazy_modules.make_lazy(lazy_modules.KERAS)
with imports.fast():
    import tensorflow as tf
import sys
print({"keras.src.backend", "pandas"} & set(sys.modules))
model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
model.compile("adam", tf.losses.MeanSquaredError())
print(model.predict([[1.0, 2.0, 3.0]], verbose=0).shape, tf.optimizers.Adam.__name__)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert done.stdout == "set()\n(1, 2) Adam\n", done.stderr
