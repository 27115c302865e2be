import platform

import pytest

from contract import processor

CPUINFO = """\
processor\t: 0
model\t\t: 17
model name\t: AMD EPYC 9354 32-Core Processor
flags\t\t: fpu avx2 avx512_bf16
bugs\t\t: spectre_v1

processor\t: 1
model name\t: another
"""


def test_the_first_core_is_described(monkeypatch, tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(CPUINFO)
    monkeypatch.setattr(processor, "_CPUINFO", file)
    assert processor.name() == "AMD EPYC 9354 32-Core Processor"
    assert processor.instructions() == {"fpu", "avx2", "avx512_bf16"}


@pytest.mark.parametrize("text", [None, "processor : 0\n"])
def test_an_unknown_processor_has_the_name_of_its_architecture(monkeypatch, tmp_path, text):
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", file)
    assert processor.name() == platform.machine()
    assert processor.instructions() == frozenset()
