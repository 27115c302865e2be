import dataclasses
import logging

import pytest
import tensorflow as tf

from contract import processor, training_record
from tests.trainer_module.conftest import TINY
from trainer_module import compute_dtype, run
from trainer_module.hyper_parameters import BEST, QUICK

ZEN_3, ZEN_4 = {"avx2", "fma"}, {"avx2", "avx512f", "avx512_bf16"}


@pytest.fixture(params=[(ZEN_3, "float32"), (ZEN_4, "bfloat16")], ids=["zen-3", "zen-4"])
def expected(request, monkeypatch) -> str:
    """The dtype for a processor, which this one then pretends to be."""
    instructions, dtype = request.param
    monkeypatch.setattr(processor, "instructions", lambda: frozenset(instructions))
    return dtype


def test_the_trainer_computes_in_bfloat16_only_where_the_processor_does(
    expected, make_fn_args, tmp_path
):
    tiny = dataclasses.replace(TINY, train_steps=4, compute_dtype="auto")
    fn_args = make_fn_args(tiny, tmp_path)
    run.run_fn(fn_args)
    assert training_record.read(fn_args.model_run_dir).compute_dtype == expected
    (graph,) = (tmp_path / "checkpoints").glob("graph.pbtxt")
    is_bfloat16 = "DT_BFLOAT16" in graph.read_text()
    assert is_bfloat16 == (expected == "bfloat16")


def pretend_gpus(monkeypatch, *capabilities: tuple[int, int]) -> None:
    details = {f"GPU:{n}": {"compute_capability": has} for n, has in enumerate(capabilities)}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [*details])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)


@pytest.mark.parametrize("capability, dtype", [((7, 5), "float32"), ((8, 0), "bfloat16")])
def test_gpus_decide_where_there_are_some(monkeypatch, capability, dtype):
    pretend_gpus(monkeypatch, (9, 0), capability)
    assert compute_dtype.fastest() == dtype


def test_presets_leave_the_dtype_to_the_machine():
    assert {QUICK.compute_dtype, BEST.compute_dtype} == {"auto"}


@pytest.mark.parametrize(
    ("dtype", "instructions"),
    [("bfloat16", ZEN_3), ("float16", ZEN_3), ("float16", ZEN_4)],
)
def test_a_slow_dtype_is_kept_with_a_warning(monkeypatch, caplog, dtype, instructions):
    monkeypatch.setattr(processor, "instructions", lambda: frozenset(instructions))
    given = dataclasses.replace(QUICK, compute_dtype=dtype)
    with caplog.at_level(logging.WARNING, "cifar.train"):
        assert compute_dtype.resolved(given) is given
    (message,) = caplog.messages
    assert message.startswith(f"compute_dtype is {dtype}, but this machine has no instructions")


def test_a_dtype_that_the_gpus_compute_in_is_no_reason_to_warn(monkeypatch, caplog):
    pretend_gpus(monkeypatch, (7, 5))
    given = dataclasses.replace(QUICK, compute_dtype="float16")
    with caplog.at_level(logging.WARNING, "cifar.train"):
        assert compute_dtype.resolved(given) is given
    assert not caplog.messages
