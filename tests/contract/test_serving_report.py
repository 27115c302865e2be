import pytest

from contract import serving_report
from contract.serving_report import ServingReport

GOOD = ServingReport("blessed: 200 examples by REST and gRPC", 200, 2e-7, 3.5, 9.0)


def test_what_is_written_beside_a_blessing_is_read(tmp_path):
    serving_report.write(str(tmp_path), GOOD)
    assert serving_report.read(str(tmp_path)) == GOOD


def test_the_verdict_says_whether_the_candidate_may_be_pushed():
    assert GOOD.is_blessed
    assert not ServingReport("NOT blessed: the server did not start").is_blessed


def test_a_damaged_report_is_an_error(tmp_path):
    (tmp_path / "serving_check.json").write_text('{"examples": "many"}')
    with pytest.raises(ValueError, match="verdict: Field required"):
        serving_report.read(str(tmp_path))
