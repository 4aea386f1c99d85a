"""A look at a whole raster from afar: few pixels, each the mean of many; for pictures and histograms."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.windows import Window

from geodecloud.errors import SceneError
from geodecloud.raster.reader import open_raster, reading

#: A file as GDAL knows it, and a 1-based band in it.
BandPlace = tuple[str, int]
#: Bands read at once: a file with hundreds is looked at in several turns.
_AT_ONCE = 16
#: Rows of a strip in which all pixels of a raster are seen: those of a block of a COG.
_STRIP_ROWS = 512


def look_shape(shape_yx: tuple[int, int], most_yx: tuple[int, int]) -> tuple[int, int]:
    """Shape of a look of at most `most_yx` px: whole numbers of pixels make one, as far as they fit.

    >>> look_shape((10980, 10980), (1600, 1600))
    (1568, 1568)
    """
    step = max(1, *(-(-size // most) for size, most in zip(shape_yx, most_yx, strict=True)))
    return max(1, shape_yx[0] // step), max(1, shape_yx[1] // step)


def read_look(
    places: Sequence[BandPlace], shape_yx: tuple[int, int], codes: bool = False
) -> NDArray[Any]:
    """Bands (band, h, w) from afar, in their dtype. GDAL takes overviews where a file has them.

    Parameters
    ----------
    places : the bands, from one file or several
    codes : whether pixels are codes, of which one is picked; else means are taken
    """
    way = Resampling.nearest if codes else Resampling.average
    parts = []
    for path, group in itertools.groupby(places, key=lambda place: place[0]):
        indexes = [index for _, index in group]
        with open_raster(path) as src, reading(path):
            if ColorInterp.palette in src.colorinterp:
                way = Resampling.nearest  # the mean of two colours' numbers is a third colour
            for first in range(0, len(indexes), _AT_ONCE):
                some = indexes[first : first + _AT_ONCE]
                parts.append(src.read(some, out_shape=(len(some), *shape_yx), resampling=way))
    return np.concatenate(parts)


def read_valid_look(path: str, shape_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a file has data (h, w), by its mask, its alpha band or its nodata number."""
    with open_raster(path) as src, reading(path):
        valid: NDArray[np.bool_] = src.dataset_mask(out_shape=shape_yx) > 0
        return valid


def count_values(path: str) -> dict[int, int]:
    """How often each number occurs in the first band of unsigned integers, all pixels looked at in strips.

    Raises
    ------
    SceneError
        If its pixels are not of 8 or 16 bits without sign.
    """
    counts: NDArray[np.int64] = np.zeros(2**16, np.int64)
    with open_raster(path) as src, reading(path):
        if src.dtypes[0] not in ("uint8", "uint16"):
            raise SceneError(f"{path} holds {src.dtypes[0]}, and codes or days are uint8 or uint16")
        for row in range(0, src.height, _STRIP_ROWS):
            window = Window(0, row, src.width, min(_STRIP_ROWS, src.height - row))
            counts += np.bincount(src.read(1, window=window).ravel(), minlength=len(counts))
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
