"""Options for reading the images of a data source, for `--set`."""

import dataclasses
from typing import Annotated, Literal

from contract import settings
from contract.features import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE

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

    def __post_init__(self) -> None:
        """Checks every value."""
        settings.check(self)


DEFAULT_OPTIONS = DataOptions()
