"""How the rounds of the serving benchmark become one report."""

from benchmarks import serving


def round_of(rate: float, failures: int, first_failure: str) -> dict:
    row = {"images_per_second": rate, "failures": failures, "first_failure": first_failure}
    return {"latency": {"grpc": {"p50_ms": rate / 1000}}, "throughput": [row]}


def test_the_median_of_the_rounds_counts_and_their_failures_add_up():
    rounds = [round_of(900.0, 1, ""), round_of(1500.0, 0, ""), round_of(1600.0, 2, "full")]
    assert serving.combined(rounds) == round_of(1500.0, 3, "full")
