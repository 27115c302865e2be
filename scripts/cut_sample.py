"""Cuts data_sources/sample from the six official batch files: `cut_sample.py data/cifar10`."""

import hashlib
import sys
from pathlib import Path

import numpy as np

from data_sources.cifar_format import BATCH_FILES, CIFAR10
from data_sources.dataset import SAMPLE_DIR

RECORDS_PER_CLASS = 20


def cut(content: bytes) -> bytes:
    """Returns the first twenty records of each class of a batch, in the batch's order."""
    records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR10.record_bytes)
    first_of_each_class = [
        np.flatnonzero(records[:, 0] == label)[:RECORDS_PER_CLASS]
        for label in range(CIFAR10.num_classes)
    ]
    return records[np.sort(np.concatenate(first_of_each_class))].tobytes()


def main(official_dir: Path) -> None:
    """Writes the six cut files and their SHA256SUMS."""
    sums = ""
    for name in BATCH_FILES:
        sample = cut((official_dir / name).read_bytes())
        (SAMPLE_DIR / name).write_bytes(sample)
        sums += f"{hashlib.sha256(sample).hexdigest()}  {name}\n"
    (SAMPLE_DIR / "SHA256SUMS").write_text(sums)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
