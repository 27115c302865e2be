"""Options for reading the images of a data source, for `--set`."""

import dataclasses
from typing import Annotated, Any, Literal

from contract import settings
from contract.features import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE
from data_sources.spans import ALL as ALL_SPANS
from data_sources.spans import check as check_spans

Labels = Literal["fine", "coarse"]
FINE: Labels = "fine"
COARSE: Labels = "coarse"
ImageSize = Annotated[int, f">= {MIN_IMAGE_SIZE}", f"<= {MAX_IMAGE_SIZE}"]


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """How images are read.

    Raises:
        ValueError: A value is outside its range; the message names the field.
    """

    image_size: ImageSize = 32  # lines and columns that a picture is resized to
    labels: Labels = FINE  # which of CIFAR-100's two labels to learn
    skip_corrupt: bool = False  # skip pictures that cannot be read
    spans: str = ALL_SPANS  # which span-<number> folders: all, last:N or FROM:TO

    def __post_init__(self) -> None:
        """Checks every value."""
        settings.check(self)
        check_spans(self.spans)

    @property
    def of_an_image(self) -> dict[str, Any]:
        """Returns what shapes an image, by name; which spans there are, the data tell."""
        fields = dataclasses.asdict(self)
        del fields["spans"]
        return fields


DEFAULT_OPTIONS = DataOptions()
