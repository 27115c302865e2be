from benchmarks import predict
from benchmarks.targets import target_line
from contract.progress import Progress


def test_batch_prediction_is_compared_with_direct_calls(models_dir, cifar_dir):
    measured = predict.measure(models_dir / "colours/7", cifar_dir, Progress())
    assert measured["images"] == 120
    percent = 100 * measured["images_per_second"]["parquet"]
    percent /= measured["direct_images_per_second"]
    assert abs(measured["percent"] - percent) < 1


def test_the_median_of_the_rounds_is_judged():
    (target,) = predict.judge({"percent_of_direct": 79.9})
    assert not target.is_met
    assert "MISSED" in target_line(target)
