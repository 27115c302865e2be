from report.facts import (
    Calibration,
    DataFacts,
    Facts,
    Metrics,
    PixelStatistics,
    PredictionFacts,
)
from report.model_card import model_card

CONFIG = {
    "preset": "smoke", "train_steps": 5_500, "batch_size": 128, "optimizer": "sgd",
    "learning_rate": 0.1,
}  # fmt: skip
PIXELS = PixelStatistics([], [], [])


def data(train: int, evaluation: int) -> DataFacts:
    return DataFacts({"train": [train, 0], "eval": [evaluation, 0]}, {}, PIXELS)


def test_the_card_tells_how_the_model_was_trained():
    details = " ".join(model_card(Facts(CONFIG))["Model details"])
    assert "preset smoke: 5,500 steps of 128 images, sgd from a learning rate of 0.1" in details


def test_headings_of_what_nobody_measured_are_left_out():
    assert list(model_card(Facts(CONFIG))) == ["Model details", "Intended use", "Limits"]


def test_a_part_of_the_images_is_said_to_be_one():
    whole = model_card(Facts(CONFIG, data=data(50_000, 10_000)))["Data"]
    assert whole[0].startswith("Trained on 50,000 images of CIFAR-10, judged by 10,000 others")
    assert "That is a part" not in " ".join(whole)
    part = model_card(Facts(CONFIG, data=data(1_000, 200)))["Data"]
    assert part[-1].startswith("That is a part of CIFAR-10's 50,000 train images")


def test_the_worst_class_and_the_confidence_are_named():
    metrics = Metrics(0.8, 0.95, 0.6, 200, {"cat": 0.625, "ship": 0.9})
    predictions = PredictionFacts(Calibration([], expected_error=0.03), [])
    sentences = model_card(Facts(CONFIG, evaluation=metrics, predictions=predictions))[
        "Metrics"
    ]
    assert sentences == [
        "Accuracy 80.0% on 200 images; the right class is among the first three for 95.0%.",
        "Worst on cat: 62.5%.",
        "Its confidence is off by 3.0% on average (expected calibration error).",
    ]
