import dataclasses

from contract.training_record import TrainingRecord
from report.facts import (
    Calibration,
    CropFacts,
    Curves,
    DataFacts,
    Facts,
    LayerFacts,
    Metrics,
    ModelFacts,
    PixelStatistics,
    PredictionFacts,
    TrainingFacts,
)
from report.model_card import model_card

CONFIG = {
    "preset": "smoke", "train_steps": 5_500, "optimizer": "sgd", "learning_rate": 0.1,
}  # fmt: skip
TRAINED = TrainingFacts(
    TrainingRecord(steps=5_500, batch_size=128, optimizer="GradientDescent"), Curves()
)
PIXELS = PixelStatistics([], [], [])


def data(train: int, evaluation: int) -> DataFacts:
    return DataFacts({"train": [train, 0], "eval": [evaluation, 0]}, {}, PIXELS)


def test_the_card_tells_how_the_model_was_trained():
    (details,) = model_card(Facts(CONFIG, training=TRAINED))["Model details"]
    assert details == (
        "Trained from scratch with preset smoke; 5,500 steps of 128 images; optimizer sgd; "
        "learning rate 0.1 at the start."
    )


def test_the_card_has_the_values_that_a_search_found():
    found = {"learning_rate": 0.03, "optimizer": "muon"}
    record = dataclasses.replace(TRAINED.record, found=found)
    (details,) = model_card(Facts(CONFIG, training=TrainingFacts(record, Curves())))[
        "Model details"
    ]
    assert details.endswith(
        "optimizer muon; learning rate 0.03 at the start; found by a search: learning_rate, "
        "optimizer."
    )


def test_of_another_estimator_the_card_says_only_what_its_record_holds():
    config = {"preset": "spring", "trainer_module": "my_team.flowers", "petals": 5}
    (details,) = model_card(Facts(config, training=TRAINED))["Model details"]
    assert details == (
        "Trained from scratch with preset spring of my_team.flowers; 5,500 steps of 128 "
        "images; optimizer GradientDescent."
    )
    (details,) = model_card(Facts(config))["Model details"]
    assert details == "Trained from scratch with preset spring of my_team.flowers."


def test_the_card_describes_the_network_that_was_exported():
    layers = [
        LayerFacts("a", "convolution", "3×3", "32×32×8", 216),
        LayerFacts("", "max pooling", "2×2", "16×16×8", 0),
        LayerFacts("b", "convolution", "3×3", "16×16×8", 576),
        LayerFacts("c", "dense layer", "", "10", 330),
    ]
    model = ModelFacts(1_122, 9_000, [], layers)
    first, _ = model_card(Facts(CONFIG, model=model))["Model details"]
    assert first == "1,122 weights in 2 convolutions, 1 dense layer."
    cropped = dataclasses.replace(
        model, crop=CropFacts("24×24", "32×32", is_middle=True), is_averaged=True
    )
    details = model_card(Facts(CONFIG, model=cropped))["Model details"]
    assert details[1:3] == [
        "It sees the middle 24×24 pixels of 32×32.",
        "The weights are moving averages of the trained weights.",
    ]


def test_headings_of_what_nobody_measured_are_left_out():
    assert list(model_card(Facts(CONFIG))) == ["Model details", "Intended use", "Limits"]


def test_a_part_of_the_images_is_said_to_be_one():
    whole = model_card(Facts(CONFIG, data=data(50_000, 10_000)))["Data"]
    assert whole[0].startswith(
        "Trained on 50,000 images of CIFAR-10 and evaluated on 10,000 others"
    )
    assert "This sample is" not in " ".join(whole)
    part = model_card(Facts(CONFIG, data=data(1_000, 200)))["Data"]
    assert part[-1].startswith("CIFAR-10 has 50,000 train images")


def test_the_worst_class_and_the_confidence_are_named():
    metrics = Metrics(0.8, 0.95, 0.6, 200, {"cat": 0.625, "ship": 0.9})
    predictions = PredictionFacts(Calibration([], expected_error=0.03), [])
    sentences = model_card(Facts(CONFIG, evaluation=metrics, predictions=predictions))[
        "Metrics"
    ]
    assert sentences == [
        "Accuracy 80.0% on 200 images; the right class is among the first three for 95.0%.",
        "The worst class is cat, with 62.5%.",
        "Its confidence is off by 3.0% on average (expected calibration error).",
    ]
