"""The network of our own model, as the graph of the pushed SavedModel tells it."""

import pytest

from report import model


@pytest.fixture(scope="module")
def facts(pushed):
    return model.model_facts(pushed.record["pushed_path"])


def test_each_layer_is_told_with_its_window_size_and_weights(facts):
    told = [(one.name, one.window, one.output, one.parameters) for one in facts.layers]
    assert told == [
        ("conv1", "5×5", "24×24×64", 5 * 5 * 3 * 64 + 64),
        ("", "3×3, 2 pixels apart", "12×12×64", 0),
        ("conv2", "5×5", "12×12×64", 5 * 5 * 64 * 64 + 64),
        ("", "3×3, 2 pixels apart", "6×6×64", 0),
        ("local3", "", "384", 2304 * 384 + 384),
        ("local4", "", "192", 384 * 192 + 192),
        ("softmax_linear", "", "10", 192 * 10 + 10),
    ]
    assert facts.parameters == sum(layer.parameters for layer in facts.layers)


def test_the_crop_the_averages_and_the_filters_are_found(facts):
    assert (facts.crop.seen, facts.crop.whole, facts.crop.is_middle) == ("24×24", "32×32", True)
    assert facts.is_averaged
    assert (facts.filters.count, facts.filters.size) == (64, "5×5")
