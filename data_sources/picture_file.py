"""Decodes a picture file to pixels in the size of the data set, or raises the reason.

The pixels equal those that a model server decodes from the file: the first frame of an
animation, without alpha, stretched to a square by the antialiased bilinear filter.
"""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Raise it with every change to the pixels that a file becomes: pictures that were converted
# before are then converted again, and are other data.
CONVERSION = 1
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 89_000_000  # where Pillow starts to warn about decompression bombs


class PictureError(ValueError):
    """The reason why a file is unusable: a kind, for counting, and what was found."""

    def __init__(self, kind: str, found: str) -> None:
        super().__init__(found)
        self.kind = kind


def decode(content: bytes, image_size: int) -> np.ndarray:
    """Returns a picture as uint8, shape (image_size, image_size, 3), RGB.

    Args:
        content: The file, in any of FORMATS, whatever its name.
        image_size: Height and width of the result.

    Raises:
        PictureError: The file is empty, not a picture, too large or damaged.
    """
    if not content:
        raise PictureError("empty", "is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(f"{image.width:,}×{image.height:,} pixels")
            upright = ImageOps.exif_transpose(image)
            pixels = _to_rgb(upright)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("too many pixels") from error
    except UnidentifiedImageError as error:
        found = f"is not a picture in a known format ({', '.join(FORMATS)})"
        raise PictureError("no picture", found) from error
    except Exception as error:  # for damaged files, Pillow raises errors of any class
        raise PictureError(
            "damaged", f"is damaged ({error or type(error).__name__})"
        ) from error
    if pixels.size != (image_size, image_size):
        pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(pixels)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Returns the first frame in RGB, 8 bits per channel, without alpha; cuts 16 bits to 8."""
    if image.mode == "F":
        raise PictureError("no picture", "has floating-point pixels, expected 8 or 16 bits")
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() >= 1 << 16:
            raise PictureError("no picture", "has 32-bit pixels, expected 8 or 16 bits")
        image = Image.fromarray((grey >> 8).astype(np.uint8))
    return image.convert("RGB")


def _too_large(found: str) -> PictureError:
    return PictureError("too large", f"has {found}, expected at most {MAX_PIXELS:,}")
