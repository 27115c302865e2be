"""Limits the number of pixels that a request's images decode to.

A PNG of 40 KB can contain 10,000 × 10,000 pixels. Decoding it can exhaust the memory, in a
step that no deadline interrupts. So the limit is proportional to the bytes sent.
"""

import contextlib
import itertools
import re
import struct
from collections.abc import Iterable, Iterator

import numpy as np

from serving.model_server.status import invalid

FREE_PIXELS = 2**24  # allowed in any request
# Allowed in addition for each byte sent; photographs have 2 to 10.
PIXELS_PER_BYTE = 16
# Limits the time for finding sizes. A GIF has a block every 256 bytes, in small frames more.
FREE_PARTS = 10_000
BYTES_PER_PART = 128

# The headers that libpng and libjpeg take a size from, wherever they are: other chunks and
# segments may come before. They are long enough not to be found anywhere else by chance.
_PNG_SIZE = re.compile(rb"\0\0\0\x0dIHDR(....)(....)", re.DOTALL)
_JPEG_START = b"\xff\xd8\xff"
_JPEG_SIZE = re.compile(
    # Marker SOF, length, 8 bits, height, width, components.
    rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]\0[\x0b\x0e\x11\x14]\x08(..)(..)[\1-\4]",
    re.DOTALL,
)
_GIF_START = re.compile(b"GIF8")
_GIF_FLAGS_AT = 10
_GIF_HEAD_BYTES = 13
_GIF_FRAME = struct.Struct("<x4xHHB")  # separator, place, width, height, flags


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
    """Returns the width × height of an encoded image, or of all images inside a record.

    A BMP counts nothing: TensorFlow takes only one with a byte or more for each pixel.

    Raises:
        ServingError: INVALID_ARGUMENT; there is too much to count.
    """
    allowed = FREE_PARTS + len(value) // BYTES_PER_PART
    parts = list(itertools.islice(_parts(value), allowed + 1))
    if len(parts) > allowed:
        raise invalid(
            f"An image of {len(value):,} bytes has more than {allowed:,} parts, such as the "
            "blocks of a GIF. Save it as a PNG or a JPEG."
        )
    return sum(parts)


def _parts(value: bytes) -> Iterator[int]:
    """Yields the pixels that each header, and each block of a GIF, adds."""
    for png in _PNG_SIZE.finditer(value):
        yield _product(*png.groups())
    start = value.find(_JPEG_START)
    if start >= 0:
        for jpeg in _JPEG_SIZE.finditer(value, start):
            yield _product(*jpeg.groups())
    for gif in _GIF_START.finditer(value):
        yield from _gif_parts(value, gif.start())


def _product(height: bytes, width: bytes) -> int:
    return int.from_bytes(height, "big") * int.from_bytes(width, "big")


def _gif_parts(value: bytes, start: int) -> Iterator[int]:
    """Yields 0 for each block, then frames × largest width × largest height.

    TensorFlow allocates this for an animation, and a frame of it without `expand_animations`.
    Like giflib, it keeps the frames before a block that cannot be read.
    """
    frames = width = height = 0
    at = start + _GIF_HEAD_BYTES
    with contextlib.suppress(IndexError, struct.error):  # the value ends
        at += _colour_table_bytes(value[start + _GIF_FLAGS_AT])
        while value[at] in b",!":
            if value[at] == ord(","):
                frame_width, frame_height, flags = _GIF_FRAME.unpack_from(value, at)
                frames += 1
                width = max(width, frame_width)
                height = max(height, frame_height)
                at += _GIF_FRAME.size + _colour_table_bytes(flags) + 1  # size of a code
            else:
                at += 2  # an extension and its kind
            while value[at]:
                at += 1 + value[at]
                yield 0
            at += 1
            yield 0
    yield frames * width * height


def _colour_table_bytes(flags: int) -> int:
    return 3 * 2 ** (1 + flags % 8) if flags >= 0x80 else 0
