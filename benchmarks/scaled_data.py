"""Several times the data, in copies that differ: equal images do not pass the data checks."""

from pathlib import Path

import numpy as np

from data_sources.cifar_format import CIFAR10, EVAL_FILES, TRAIN_FILES, records_of


def write(source: Path, target: Path, times: int) -> str:
    """Writes `times` the batches of CIFAR-10 and returns their folder.

    There are `times` as many training batches, of the same size, and one test batch.
    """
    target.mkdir()
    for copy in range(times):
        for place, name in enumerate(TRAIN_FILES):
            number = copy * len(TRAIN_FILES) + place + 1
            (target / f"data_batch_{number}.bin").write_bytes(changed(source / name, copy))
    for name in EVAL_FILES:
        with (target / name).open("wb") as file:
            for copy in range(times):
                file.write(changed(source / name, copy))
    return str(target)


def changed(batch: Path, copy: int) -> bytes:
    """Returns a batch with another red value in the first two pixels of every image.

    Copy 0 is the batch itself.
    """
    records = records_of(batch.read_bytes(), CIFAR10).copy()
    pixels = CIFAR10.label_bytes
    records[:, pixels : pixels + 2] ^= np.array([copy % 16, copy // 16 % 16], np.uint8)
    return records.tobytes()
