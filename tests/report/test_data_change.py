from report import data_change
from report.data_change import DataChange, DataDrift, DataFile

BEFORE = {
    "data_batch_1.bin": DataFile("a", 10_000),
    "span-1/data_batch_1.bin": DataFile("b", 500),
    "eval": DataFile("c", 12),
}


def test_what_came_left_and_changed_is_told_with_its_images():
    now = {
        "data_batch_1.bin": DataFile("a", 10_000),
        "span-2/data_batch_1.bin": DataFile("d", 300),
        "span-2/data_batch_2.bin": DataFile("e", 400),
        "data_batch_2.bin": DataFile("f", 1),
        "span-2/fine_label_names.txt": DataFile("g"),
        "eval": DataFile("h", 14),
    }
    change = data_change.compare("r1", BEFORE, now)
    assert change.left == {"span-1/data_batch_1.bin": 500}
    assert change.changed == {"eval": (12, 14)}
    assert data_change.in_words(change) == (
        "since run r1: added: span-2 (700 images), data_batch_2.bin (1 image); "
        "removed: span-1 (500 images); changed: eval (12 → 14 images)"
    )


def test_equal_data_have_not_changed():
    change = data_change.compare("r1", BEFORE, dict(BEFORE))
    assert change == DataChange("r1")
    assert change.is_empty


def test_the_drift_nearest_to_its_limit_comes_first():
    drift = DataDrift("train of version 7", {"label": (0.01, 0.1), "brightness": (0.2, 0.5)})
    assert data_change.drift_in_words(drift) == (
        "from train of version 7: brightness 0.200 (limit 0.5), label 0.010 (limit 0.1)"
    )
