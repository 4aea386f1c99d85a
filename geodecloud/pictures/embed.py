"""Pictures inside a page: as text that a browser shows without asking anybody for a file."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from geodecloud.raster.gdal import gdal_settings

#: Qualities of JPEG, the best first; the first small enough is taken.
_QUALITIES = (88, 80, 70, 55, 40, 25)


def jpeg_uri(picture: NDArray[np.uint8], most_bytes: int) -> str:
    """A picture (3, h, w) as a JPEG of at most so many bytes, as far as its quality goes down."""
    for quality in _QUALITIES:
        encoded = _encode(picture, driver="JPEG", quality=quality)
        if len(encoded) <= most_bytes:
            break
    return uri("image/jpeg", encoded)


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """A picture (3, h, w) as a PNG file."""
    return _encode(picture, driver="PNG")


def png_uri(
    indexes: NDArray[np.uint8], colours: Mapping[int, tuple[int, int, int]], most_bytes: int
) -> str:
    """A map (h, w) of numbers as a PNG in which only those with a colour can be seen.

    Where it would be larger than `most_bytes`, every second pixel is shown, and so on.
    """
    table = dict.fromkeys(range(256), (0, 0, 0, 0))
    table |= {i: (red, green, blue, 255) for i, (red, green, blue) in colours.items()}
    while True:
        encoded = _encode(indexes[None], table, driver="PNG")
        if len(encoded) <= most_bytes or min(indexes.shape) < 64:
            return uri("image/png", encoded)
        indexes = np.ascontiguousarray(indexes[::2, ::2])


def _encode(
    picture: NDArray[np.uint8],
    table: Mapping[int, tuple[int, int, int, int]] | None = None,
    **options: Any,
) -> bytes:
    count, height, width = picture.shape
    shape = {"count": count, "height": height, "width": width, "dtype": "uint8"}
    with gdal_settings(), warnings.catch_warnings(), MemoryFile() as file:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture needs no place
        with file.open(**shape, **options) as dst:
            dst.write(picture)
            if table is not None:
                dst.write_colormap(1, table)
        return bytes(file.getbuffer())


def uri(kind: str, encoded: bytes) -> str:
    """A file as text that stands in a page."""
    return f"data:{kind};base64,{base64.b64encode(encoded).decode('ascii')}"
