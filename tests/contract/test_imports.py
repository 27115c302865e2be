import gc
import os
import subprocess
import sys

import pytest

from contract import imports, processor


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


PROGRAMS = (
    "contract.imports",
    "kubeflow.entrypoint",
    "kubeflow.replica",
    "pipeline_def.beam.preloaded",
    "benchmarks.training_parts",
)


def uses_onednn(module: str, environment: dict[str, str]) -> bool:
    """Returns whether TensorFlow says so once a process that began with a module loads it."""
    code = (
        f"import {module}\nfrom contract import imports\n"
        "with imports.fast():\n    import tensorflow\ntensorflow.constant(1)"
    )
    inherited = os.environ | {imports.LOG_LEVEL_VARIABLE: "0"}
    inherited.pop(imports.ONEDNN_VARIABLE, None)
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(
        command, env=inherited | environment, capture_output=True, text=True, check=True
    )
    return "oneDNN custom operations are on" in done.stderr


@pytest.mark.skipif("avx2" not in processor.instructions(), reason="needs a CPU with AVX2")
@pytest.mark.parametrize("module", PROGRAMS)
def test_tensorflow_computes_with_onednn_wherever_there_is_avx2(module: str):
    assert uses_onednn(module, {})


def test_the_user_has_the_last_word_on_onednn():
    assert not uses_onednn("contract.imports", {imports.ONEDNN_VARIABLE: "0"})


def test_onednn_is_left_to_tensorflow_on_other_processors(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(imports.ONEDNN_VARIABLE, raising=False)
    monkeypatch.setattr(processor, "instructions", lambda: frozenset({"sse4_2", "asimd"}))
    imports.use_onednn()
    assert imports.ONEDNN_VARIABLE not in os.environ
