"""Images as text that a page can hold: PNG in a data URI."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

GAP = 2  # pixels between the images of a sheet


def data_uri(image: np.ndarray) -> str:
    """Returns an image as a PNG in a data URI.

    Args:
        image: uint8, shape (height, width, 3) for RGB or (height, width, 4) with alpha.
    """
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()


def webp_uri(image: np.ndarray) -> str:
    """Returns an image as a WebP in a data URI: a third of a PNG's size, and not exact."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


def png_bytes(image: np.ndarray) -> bytes:
    """Returns an image of uint8, shape (height, width, 3 or 4), as a PNG."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG", optimize=True)
    return content.getvalue()


def sheet(images: Sequence[np.ndarray], columns: int, gap: int = GAP) -> np.ndarray:
    """Returns images of one size in rows, with transparent gaps between them.

    Args:
        images: uint8, shape (height, width, 3) each; at least one.
        columns: How many stand beside each other.
        gap: Pixels between two of them.

    Returns:
        uint8, shape (all rows' height, all columns' width, 4).
    """
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 4)
    canvas = np.zeros(shape, np.uint8)
    for index, image in enumerate(images):
        top = index // columns * (height + gap)
        left = index % columns * (width + gap)
        canvas[top : top + height, left : left + width, :3] = image
        canvas[top : top + height, left : left + width, 3] = 255
    return canvas
