"""How many pixels encoded images will have once they are decoded.

A PNG of 40 KB can hold 10,000 × 10,000 pixels: more memory than there is, and a step that no
deadline interrupts. What may be decoded is in proportion to what was sent.
"""

import io
import struct
from collections.abc import Iterable

import numpy as np
from PIL import Image

from serving.model_server.status import invalid

FREE_PIXELS = 2**24  # of one request
# And so many for each byte sent; photographs have 2 to 10.
PIXELS_PER_BYTE = 16

_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE_IN_PNG = struct.Struct(">8x4x4xII")  # signature, length and name of the first chunk
_STARTS = {b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"BM": "BMP"}


def check_images(arrays: Iterable[np.ndarray]) -> None:
    """Raises INVALID_ARGUMENT for strings that hold images of too many pixels.

    Args:
        arrays: What is fed to a model; those of other dtypes than bytes are let pass.
    """
    values = [value for a in arrays if a.dtype.hasobject for value in a.flat]
    pixels = sum(map(declared_pixels, values))
    allowed = FREE_PIXELS + PIXELS_PER_BYTE * sum(map(len, values))
    if pixels > allowed:
        raise invalid(
            f"The images have {pixels:,} pixels, {allowed:,} are allowed in a request of "
            "this size. Send smaller images."
        )


def declared_pixels(value: bytes) -> int:
    """Returns the width × height of an encoded image, or of PNGs inside of a record."""
    pixels = 0
    at = value.find(_PNG)
    while at >= 0 and at + _SIZE_IN_PNG.size <= len(value):
        width, height = _SIZE_IN_PNG.unpack_from(value, at)
        pixels += width * height
        at = value.find(_PNG, at + 1)
    for start, kind in _STARTS.items():
        if value.startswith(start):
            pixels += _opened(value, kind)
    return pixels


def _opened(value: bytes, kind: str) -> int:
    try:
        with Image.open(io.BytesIO(value), formats=[kind]) as image:
            return image.width * image.height
    except Image.DecompressionBombError:
        return 2**32  # Pillow says no more
    except (OSError, SyntaxError, ValueError):
        return 0  # the model refuses it
