"""The confidence interval of a measured fraction."""

import math

Z_95 = 1.959964  # of the normal distribution, two-sided


def wilson(fraction: float, count: int, z: float = Z_95) -> tuple[float, float]:
    """Returns the 95% confidence interval of a fraction of `count` independent trials.

    This is Wilson's score interval, which stays within 0 to 1 and suits small counts
    (Wilson, Probable Inference, 1927). It covers only the choice of the images, not the
    seed of the training.
    """
    spread = z * z / count
    middle = (fraction + spread / 2) / (1 + spread)
    half = (
        z * math.sqrt(fraction * (1 - fraction) / count + spread / (4 * count)) / (1 + spread)
    )
    return max(middle - half, 0.0), min(middle + half, 1.0)
