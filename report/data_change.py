"""What came, left, changed and drifted of the data since an earlier run."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class DataFile:
    """A file of the data, or all pictures of a split, or of a split of a span.

    Attributes:
        sha256: Its content.
        images: How many images it contains; 0 for names of classes.
    """

    sha256: str
    images: int = 0


@dataclasses.dataclass(frozen=True)
class DataChange:
    """How the data differ from those of an earlier run.

    Attributes:
        since: The id of that run.
        came: How many images there are in each new file.
        left: The same of each file that is gone or not selected any more.
        changed: The same of each file with other content, before and now.
    """

    since: str
    came: Mapping[str, int] = dataclasses.field(default_factory=dict)
    left: Mapping[str, int] = dataclasses.field(default_factory=dict)
    changed: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Returns whether the data are the same."""
        return not (self.came or self.left or self.changed)


@dataclasses.dataclass(frozen=True)
class DataDrift:
    """How far the train images are from those of the last version of other data.

    Attributes:
        other: What they are compared with, such as `train of version 1795386836`.
        distances: The distance of each feature, and its limit.
    """

    other: str
    distances: Mapping[str, tuple[float, float]]


def compare(
    since: str, before: Mapping[str, DataFile], now: Mapping[str, DataFile]
) -> DataChange:
    """Returns how files differ from those of the run `since`."""
    return DataChange(
        since,
        came={name: now[name].images for name in now if name not in before},
        left={name: before[name].images for name in before if name not in now},
        changed={
            name: (before[name].images, now[name].images)
            for name in now
            if name in before and before[name].sha256 != now[name].sha256
        },
    )


def in_words(change: DataChange) -> str:
    """Returns a change on one line, the files of a span together."""
    parts = []
    if change.came:
        parts.append(f"added: {_listed(change.came)}")
    if change.left:
        parts.append(f"removed: {_listed(change.left)}")
    if change.changed:
        files = ", ".join(
            f"{name} ({before:,} → {_images(now)})"
            for name, (before, now) in change.changed.items()
        )
        parts.append(f"changed: {files}")
    return f"since run {change.since}: {'; '.join(parts) or 'nothing changed'}"


def drift_in_words(drift: DataDrift) -> str:
    """Returns the distances on one line, those nearest to their limit first."""
    order = sorted(drift.distances.items(), key=lambda item: -item[1][0] / (item[1][1] or 1))
    parts = [f"{name} {value:.3f} (limit {limit:g})" for name, (value, limit) in order]
    return f"from {drift.other}: {', '.join(parts)}"


def _listed(images: Mapping[str, int]) -> str:
    """Returns files with their numbers of images; those of a span as one."""
    together: dict[str, int] = {}
    for name, count in images.items():
        span, _, file = name.rpartition("/")
        together[span or file] = together.get(span or file, 0) + count
    return ", ".join(
        f"{name} ({_images(count)})" if count else name for name, count in together.items()
    )


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
