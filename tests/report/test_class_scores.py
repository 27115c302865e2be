from data_sources.cifar_format import CIFAR10
from report.class_scores import ClassScore, class_scores

CLASS_NAMES = CIFAR10.class_names

CAT, DOG, SHIP = 3, 5, 8


def test_scores_of_a_class_are_those_counted_by_hand():
    # Four cats: three taken for cats, one for a dog. One ship, taken for a cat.
    confusion = [[0] * len(CLASS_NAMES) for _ in CLASS_NAMES]
    confusion[CAT][CAT], confusion[CAT][DOG], confusion[SHIP][CAT] = 3, 1, 1
    scores = class_scores(confusion, CLASS_NAMES)
    assert scores[CAT] == ClassScore(
        name="cat",
        images=4,
        recall=0.75,
        precision=0.75,
        f1=0.75,
        confused_with="dog",
        confused_fraction=0.25,
    )
    assert scores[SHIP].recall == 0
    assert scores[CLASS_NAMES.index("bird")].confused_with is None
