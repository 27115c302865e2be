"""Limits the number of pixels that a request's images decode to.

A PNG of 40 KB can contain 10,000 × 10,000 pixels. Decoding it can exhaust the memory, in a
step that no deadline interrupts. So the limit is proportional to the bytes sent.
"""

import io
import struct
from collections.abc import Iterable

import numpy as np
from PIL import Image

from serving.model_server.status import invalid

FREE_PIXELS = 2**24  # allowed in any request
# Allowed in addition for each byte sent; photographs have 2 to 10.
PIXELS_PER_BYTE = 16

_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE_IN_PNG = struct.Struct(">8x4x4xII")  # signature, length and name of the first chunk
_STARTS = {b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"BM": "BMP"}


def check_images(arrays: Iterable[np.ndarray]) -> None:
    """Raises INVALID_ARGUMENT if the encoded images have too many pixels.

    Args:
        arrays: What is fed to a model; only arrays of bytes are checked.
    """
    values = [value for a in arrays if a.dtype.hasobject for value in a.flat]
    pixels = sum(map(declared_pixels, values))
    allowed = FREE_PIXELS + PIXELS_PER_BYTE * sum(map(len, values))
    if pixels > allowed:
        raise invalid(
            f"The images have {pixels:,} pixels; a request of this size may have "
            f"{allowed:,}. Send smaller images."
        )


def declared_pixels(value: bytes) -> int:
    """Returns the width × height of an encoded image, or of all PNGs inside a record."""
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
        return 2**32  # Pillow does not give the size
    except (OSError, SyntaxError, ValueError):
        return 0  # the model will reject it
