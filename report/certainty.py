"""The significance of a difference between two models on the same images."""

from report.facts import Comparison

SIGNIFICANT = 0.05  # a p-value below it


def compare(only_baseline: int, only_candidate: int) -> Comparison:
    """Returns McNemar's exact test of two models on the same images.

    Under the hypothesis that both are equally good, each image that only one of them gets
    right is equally likely to be either's.

    Args:
        only_baseline: Images that only the baseline gets right.
        only_candidate: Images that only the candidate gets right.
    """
    from scipy import stats  # takes half a second, so only when needed

    differing = only_baseline + only_candidate
    p_value = stats.binomtest(only_candidate, differing).pvalue if differing else 1.0
    return Comparison(only_baseline, only_candidate, float(p_value))


def in_words(comparison: Comparison) -> str:
    """Returns the result of a comparison: `within noise (…)`, or which model is better."""
    better, worse = comparison.only_candidate, comparison.only_baseline
    if comparison.p_value >= SIGNIFICANT:
        verdict = "within noise"
    else:
        verdict = "significantly better" if better > worse else "significantly worse"
    return (
        f"{verdict} ({better:,} images right that were wrong, {worse:,} wrong that were right, "
        f"McNemar's p = {comparison.p_value:.2g})"
    )
