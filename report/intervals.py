"""How sure a measured fraction is."""

import math

Z_95 = 1.959964  # of the normal distribution, two-sided


def wilson(fraction: float, count: int, z: float = Z_95) -> tuple[float, float]:
    """Returns the 95% confidence interval of a fraction of `count` independent trials.

    Wilson's score interval, which stays within 0 to 1 and holds for small counts, too
    (Wilson, Probable Inference, 1927). It covers the choice of the images alone, not the
    seed of the training.
    """
    spread = z * z / count
    middle = (fraction + spread / 2) / (1 + spread)
    half = (
        z * math.sqrt(fraction * (1 - fraction) / count + spread / (4 * count)) / (1 + spread)
    )
    return max(middle - half, 0.0), min(middle + half, 1.0)
