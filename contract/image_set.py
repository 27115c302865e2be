"""The classes and image size of a data set, which travel with the examples in their schema."""

import dataclasses
import math
import posixpath

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from contract import artifact_files, features
from contract.features import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE

SCHEMA_FILE = "schema.pbtxt"  # in the schema's artifact
# Properties of the schema's artifact: what identifies the batches.
DATA_FINGERPRINT = "data_fingerprint"
EVAL_FINGERPRINT = "eval_fingerprint"
MIN_CLASSES, MAX_CLASSES = 2, 1_000  # the gate and the report treat each class separately

_CLASS_NAMES = "class_names"  # the schema's string_domain that lists them
# Curated, not inferred: `image_domain` makes data validation treat the pixels as bytes rather
# than text.
_SCHEMA = f"""
feature {{
  name: "{features.IMAGE}"
  type: BYTES
  presence {{ min_fraction: 1.0 min_count: 1 }}
  shape {{}}
  image_domain {{}}
}}
feature {{
  name: "{features.LABEL}"
  type: INT
  presence {{ min_fraction: 1.0 min_count: 1 }}
  shape {{}}
  int_domain {{ min: 0 }}
}}
feature {{
  name: "{features.KEY}"
  type: BYTES
  presence {{ min_fraction: 1.0 min_count: 1 }}
  shape {{}}
}}
"""


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """The classes and the size of the images of a data set.

    Raises:
        ValueError: There are too few or too many classes, a name is repeated, or the size is
            out of range.
    """

    class_names: tuple[str, ...]  # in the order of the labels
    image_size: int  # lines and columns of every image

    def __post_init__(self) -> None:
        """Checks every value."""
        if not MIN_CLASSES <= self.num_classes <= MAX_CLASSES:
            raise ValueError(
                f"A data set must have {MIN_CLASSES} to {MAX_CLASSES:,} classes, got "
                f"{self.num_classes:,}."
            )
        if len(set(self.class_names)) < self.num_classes:
            raise ValueError(
                f"Each class must have its own name, got {', '.join(self.class_names)}."
            )
        check_image_size(self.image_size)

    @property
    def num_classes(self) -> int:
        """Returns the number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Returns height, width and channels of an image."""
        return (self.image_size, self.image_size, features.CHANNELS)

    @property
    def image_bytes(self) -> int:
        """Returns the number of values in an image, each a byte."""
        return math.prod(self.image_shape)


def check_image_size(image_size: int) -> None:
    """Raises ValueError unless the image size is allowed."""
    if not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise ValueError(
            f"image_size must be {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE} pixels, got {image_size}."
        )


def to_schema(image_set: ImageSet) -> schema_pb2.Schema:
    """Returns the schema of examples with these images."""
    schema = text_format.Parse(_SCHEMA, schema_pb2.Schema())
    image, label, _ = schema.feature
    image.image_domain.max_image_byte_size = image_set.image_bytes
    label.int_domain.max = image_set.num_classes - 1
    schema.string_domain.add(name=_CLASS_NAMES, value=image_set.class_names)
    return schema


def from_schema(schema: schema_pb2.Schema) -> ImageSet:
    """Returns the image set that a schema describes.

    Raises:
        ValueError: It does not name the classes or the size of the images.
    """
    names = {domain.name: tuple(domain.value) for domain in schema.string_domain}
    image_bytes = {
        feature.name: feature.image_domain.max_image_byte_size for feature in schema.feature
    }.get(features.IMAGE, 0)
    if not image_bytes or _CLASS_NAMES not in names:
        raise ValueError(
            f"The schema has no string_domain {_CLASS_NAMES!r}, or its feature "
            f"{features.IMAGE!r} no image_domain with max_image_byte_size. CifarExampleGen "
            "writes both; run the pipeline from its start."
        )
    return ImageSet(names[_CLASS_NAMES], math.isqrt(image_bytes // features.CHANNELS))


def write(schema_dir: str, image_set: ImageSet) -> None:
    """Writes the schema of examples with these images into the folder of its artifact."""
    with artifact_files.open_text(posixpath.join(schema_dir, SCHEMA_FILE), "w") as file:
        file.write(text_format.MessageToString(to_schema(image_set)))


def read(schema_dir: str) -> ImageSet:
    """Returns the image set that the schema in an artifact's folder describes.

    Raises:
        FileNotFoundError: There is no schema.
        ValueError: It does not name the classes or the size of the images.
    """
    with artifact_files.open_text(posixpath.join(schema_dir, SCHEMA_FILE)) as file:
        return from_schema(text_format.Parse(file.read(), schema_pb2.Schema()))
