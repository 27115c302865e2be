from benchmarks import growth


def found(data_seconds: float, peak_bytes: int, images_per_second: float) -> dict:
    return {
        "data_seconds": data_seconds,
        "peak_bytes": peak_bytes,
        "images_per_second": images_per_second,
    }


def missed(scaled: dict) -> list[str]:
    report = {"scale": 10, "once": found(6, 1000, 2000), "scaled": scaled}
    return [target.name for target in growth.judge(report) if not target.is_met]


def test_growth_in_step_with_the_data_meets_the_targets():
    assert missed(found(63, 1100, 1800)) == []


def test_each_growth_target_is_missed_by_its_own_number():
    assert missed(found(64, 1100, 1800)) == ["data stages, 10 times the data"]
    assert missed(found(63, 1101, 1800)) == ["peak memory"]
    assert missed(found(63, 1100, 1799)) == ["training speed when streamed"]
