"""Counts facts about images: of the examples in StatisticsGen, of served requests in drift."""

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np

from contract import features
from contract.data_facts import BIN_WIDTH, BINS, IMAGE_FACTS, SplitFacts

DIGEST_BYTES = 12  # two of a million images collide with a probability of 1 in 10^17
CHUNK_BYTES = 1 << 19  # pixels examined at once: larger arrays take twice as long
ROUNDING = 0.01  # the sharpness that rounding may give to an image of a single colour


class Counter:
    """The counts of the images so far.

    Attributes:
        digests: One of each different image, if it counts duplicates.
    """

    def __init__(self, counts_duplicates: bool = True) -> None:
        """Counts nothing yet; without duplicates, its memory does not grow with the images."""
        self.digests: set[bytes] = set()
        self._counts_duplicates = counts_duplicates
        self._examples = self._constant = self._images = 0
        self._labels = np.zeros(0, np.int64)
        self._histograms = np.zeros((len(IMAGE_FACTS), BINS), np.int64)

    def add(self, images: Sequence[bytes], labels: np.ndarray) -> None:
        """Counts examples.

        Args:
            images: The pixels of each, RGB; ignored if they do not form a square.
            labels: int64, shape (n,); negative ones are ignored.
        """
        self._examples += len(labels)
        counted = np.bincount(labels[labels >= 0], minlength=len(self._labels))
        counted[: len(self._labels)] += self._labels
        self._labels = counted
        whole = [image for image in images if image and size_of(image)]
        self._images += len(whole)
        if self._counts_duplicates:
            self.digests.update(
                hashlib.blake2b(image, digest_size=DIGEST_BYTES).digest() for image in whole
            )
        for pixels in _of_equal_size(whole):
            facts = dict(zip(IMAGE_FACTS, image_facts(pixels), strict=True))
            flat = pixels[facts["sharpness"] < ROUNDING]
            self._constant += int((flat == flat[:, :1]).all(axis=(1, 2)).sum())
            self._histograms += np.stack(
                [_histogram(np.minimum(each, 255)) for each in facts.values()]
            )

    def facts(self) -> SplitFacts:
        """Returns the facts about all images."""
        return SplitFacts(
            examples=self._examples,
            labels=self._labels.tolist(),
            histograms=dict(zip(IMAGE_FACTS, self._histograms.tolist(), strict=True)),
            constant=self._constant,
            duplicates=self._images - len(self.digests) if self._counts_duplicates else 0,
        )


def image_facts(pixels: np.ndarray) -> Sequence[np.ndarray]:
    """Returns the values of IMAGE_FACTS, in that order, float32, shape (n,) each.

    Args:
        pixels: uint8, shape (n, size × size, 3).
    """
    values = pixels.astype(np.float32)
    count, area, _ = pixels.shape
    # A product with a matrix adds many times as fast as a sum over every third value.
    every_third = np.tile(np.eye(3, dtype=np.float32), (area, 1))
    channels = values.reshape(count, -1) @ every_third / area
    brightness = channels.mean(axis=1)
    squares = np.einsum("nij,nij->n", values, values) / (3 * area)
    contrast = np.sqrt(np.maximum(squares - brightness**2, 0))
    return brightness, contrast, sharpness(values), *channels.T


def sharpness(values: np.ndarray) -> np.ndarray:
    """Returns the standard deviation of each image's Laplacian, float32, shape (n,).

    It is low for blurred images. Source: Pech-Pacheco et al., Diatom autofocusing in
    brightfield microscopy, ICPR 2000.

    Args:
        values: float32, shape (n, size × size, 3).
    """
    size = math.isqrt(values.shape[1])
    grey = (values.reshape(-1, 3) @ np.full(3, 1 / 3, np.float32)).reshape(-1, size, size)
    # The difference to the right neighbour, in one long row, which NumPy takes faster.
    row = grey.ravel()
    right = np.zeros_like(row)
    np.subtract(row[1:], row[:-1], out=right[:-1])
    right[size - 1 :: size] = 0  # beyond the border, a pixel repeats
    laplacian = right.copy()
    laplacian[1:] -= right[:-1]
    laplacian = laplacian.reshape(grey.shape)
    below = grey[:, 1:] - grey[:, :-1]
    laplacian[:, :-1] += below
    laplacian[:, 1:] -= below
    # Each difference is in it once with either sign, so the mean is 0.
    variance = np.einsum("nij,nij->n", laplacian, laplacian) / size**2
    found: np.ndarray = np.sqrt(variance)
    return found


def size_of(image: bytes) -> int:
    """Returns the height and width of a square RGB image; 0 if it is none."""
    size = math.isqrt(len(image) // features.CHANNELS)
    return size if size * size * features.CHANNELS == len(image) else 0


def _histogram(values: np.ndarray) -> np.ndarray:
    """Returns the number of values, from 0 to 255, in each bin, int64, shape (BINS,)."""
    return np.bincount((values / BIN_WIDTH).astype(np.int64), minlength=BINS)


def _of_equal_size(images: Sequence[bytes]) -> Iterator[np.ndarray]:
    """Yields images of one size at a time, uint8, shape (n, size × size, 3)."""
    by_size: dict[int, list[bytes]] = {}
    for image in images:
        by_size.setdefault(len(image), []).append(image)
    for image_bytes, alike in by_size.items():
        count = max(1, CHUNK_BYTES // image_bytes)
        for start in range(0, len(alike), count):
            content = b"".join(alike[start : start + count])
            yield np.frombuffer(content, np.uint8).reshape(-1, image_bytes // 3, 3)
