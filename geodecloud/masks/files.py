"""Mask files on a scene's grid: what they are is told by a look at some of their values."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.vrt import WarpedVRT

from geodecloud.errors import GeodecloudWarning, SceneError
from geodecloud.masks.areas import place_region, whereabouts
from geodecloud.masks.classes import Meaning, clouds_of
from geodecloud.masks.recognition import MaskReader, many_values, recognise
from geodecloud.masks.selection import Selection, parse_selection
from geodecloud.raster.archives import raster_path
from geodecloud.raster.lazy import LazyWindows
from geodecloud.raster.reader import absolute, open_raster, reading
from geodecloud.scene.grid import Grid

log = logging.getLogger(__name__)

_Masked: TypeAlias = np.ma.MaskedArray[Any, Any]
_Patch: TypeAlias = tuple[tuple[int, int], tuple[int, int]]  # rows, columns

#: A mask that covers more than this share of a scene is told.
_NEARLY_ALL = 0.95
#: So many patches a side, of so many px, are looked at.
_PATCHES, _PATCH_PX = 4, 64


class _Values:
    """Bands (band, y, x) of a mask file on the scene's grid, by nearest, and where there are none.

    GDAL takes longitudes as they are, so a raster that reaches beyond 180 is read once for each of
    `shifts`: as it lies, and a turn of the globe away.
    """

    def __init__(
        self, path: str, grid: Grid, shifts: Sequence[float], bands: Sequence[int]
    ) -> None:
        self.path, self.grid, self.shifts, self.bands = path, grid, shifts, tuple(bands)

    def read(self, rows: tuple[int, int], cols: tuple[int, int]) -> _Masked:
        """Pixels of one window, masked where the file has none. A band 0 is a plane of zeros."""
        window = rasterio.windows.Window.from_slices(rows, cols)
        with reading(self.path), open_raster(self.path) as src:
            if Grid.of(src) == self.grid or not self.grid.has_place:
                return self._bands(src, window)
            shape = (len(self.bands), rows[1] - rows[0], cols[1] - cols[0])
            values = np.zeros(shape, np.result_type(*src.dtypes))
            missing = np.ones(shape, bool)
            for shift in self.shifts:
                with self._warped(src, shift) as vrt:
                    found = self._bands(vrt, window)
                fresh = missing & ~np.ma.getmaskarray(found)
                values[fresh] = found.data[fresh]
                missing &= ~fresh
        return np.ma.MaskedArray(values, missing)

    def sample(self, patches: Sequence[_Patch]) -> _Masked:
        """The pixels (band, N) of patches."""
        read = [self.read(*patch).reshape(len(self.bands), -1) for patch in patches]
        missing = np.concatenate([np.ma.getmaskarray(part) for part in read], axis=1)
        return np.ma.MaskedArray(np.concatenate([part.data for part in read], axis=1), missing)

    def _bands(self, src: Any, window: rasterio.windows.Window) -> _Masked:
        # one by one: bands may have different dtypes
        read = {band: src.read(band, window=window, masked=True) for band in self.bands if band}
        lacking = np.ma.MaskedArray(np.zeros(next(iter(read.values())).shape, np.uint8))
        planes = [read.get(band, lacking) for band in self.bands]
        missing = np.stack([np.ma.getmaskarray(plane) for plane in planes])
        return np.ma.MaskedArray(np.stack([plane.data for plane in planes]), missing)

    @contextmanager
    def _warped(self, src: Any, shift: float) -> Iterator[Any]:
        a, b, c, d, e, f = src.transform[:6]
        with WarpedVRT(
            src,
            src_transform=Affine(a, b, c + shift, d, e, f),
            crs=self.grid.crs,
            transform=self.grid.transform,
            width=self.grid.shape_yx[1],
            height=self.grid.shape_yx[0],
            # what lies beyond the file is no value, 0 neither
            add_alpha=src.nodata is None and ColorInterp.alpha not in src.colorinterp,
            # in its pixels; GDAL's default of 1/8 often takes the nearest but one
            tolerance=1e-3,
            # of a window's outline; at 21 of them GDAL misses where it crosses 180
            SAMPLE_STEPS="ALL",
        ) as vrt:
            yield vrt


class _Meanings(LazyWindows):
    """What a mask file says of each pixel (y, x), `geodecloud.masks.classes.Meaning`."""

    dtype = np.dtype(np.uint8)

    def __init__(self, values: _Values, reader: MaskReader) -> None:
        self.values, self.reader = values, reader
        self.shape = values.grid.shape_yx

    def read(self, rows: tuple[int, int], cols: tuple[int, int], *lead: Any) -> NDArray[Any]:
        """Pixels of one window."""
        return self.reader.read(self.values.read(rows, cols))


def open_mask(
    text: str | Path, grid: Grid, chunks_yx: Any, valid: NDArray[np.bool_] | None = None
) -> da.Array:
    """What a mask file says of each pixel of a scene's grid, lazily.

    Known classifications are recognised by their names and some of their values, and it is logged;
    see `geodecloud.masks.selection` for what else a caller can ask.

    Parameters
    ----------
    text : file, or file and condition
    grid : of the scene
    chunks_yx : dask chunks of the result
    valid : (y, x), where the scene has data, if that is known; to say which share is covered

    Returns
    -------
    uint8 dask array (y, x) of `geodecloud.masks.classes.Meaning`

    Raises
    ------
    SceneError
        If the mask does not overlap the scene, cannot be placed on it, or lacks the band asked for.
    OptionError
        If what is asked of it makes no sense.
    """
    asked = parse_selection(text)
    path = absolute(raster_path(asked.path))
    with open_raster(path) as src:
        mask_grid, descriptions = Grid.of(src), src.descriptions
    placed, shifts = _place(asked.path, mask_grid, grid)
    patches = _patches(placed.shape_yx)
    every = range(1, len(descriptions) + 1)
    sample = _Values(path, placed, shifts, every).sample(patches)
    reader = recognise(asked, descriptions, sample)
    _tell(asked, reader, sample, len(descriptions))
    values = _Values(path, placed, shifts, reader.bands)
    inside = None if valid is None else np.concatenate([_window(valid, p) for p in patches])
    _warn_of_cover(asked, reader, reader.read(values.sample(patches)), inside)
    return da.from_array(_Meanings(values, reader), chunks=chunks_yx, lock=False)


def _place(path: str, mask_grid: Grid, grid: Grid) -> tuple[Grid, Sequence[float]]:
    """The grid to read a mask on, and turns of the globe to look for it."""
    if not (grid.has_place and mask_grid.has_place):
        if mask_grid.shape_yx != grid.shape_yx:
            raise SceneError(
                f"mask {path} is {mask_grid} and the scene is {grid}: without a georeference on "
                "both they must have the same size"
            )
        return Grid(None, grid.transform, grid.shape_yx), [0.0]
    region = place_region(path, mask_grid.footprint, mask_grid.crs, grid)
    if region.is_empty():
        raise SceneError(f"mask {path} does not overlap the scene: {whereabouts(region)}")
    return grid, region.shifts


def _patches(shape_yx: tuple[int, int]) -> list[_Patch]:
    """Rows and columns of patches spread over a scene, or all of a small one."""
    if max(shape_yx) <= _PATCHES * _PATCH_PX:
        return [((0, shape_yx[0]), (0, shape_yx[1]))]
    spans = []
    for size in shape_yx:
        starts = {
            max(0, (2 * k + 1) * size // (2 * _PATCHES) - _PATCH_PX // 2) for k in range(_PATCHES)
        }
        spans.append([(start, min(size, start + _PATCH_PX)) for start in sorted(starts)])
    return [(rows, cols) for rows in spans[0] for cols in spans[1]]


def _window(valid: NDArray[np.bool_], patch: _Patch) -> NDArray[np.bool_]:
    (top, bottom), (left, right) = patch
    return valid[top:bottom, left:right].ravel()


def _tell(asked: Selection, reader: MaskReader, sample: NDArray[Any], count: int) -> None:
    """Say how a mask is read; warn where it is read as a mask of 0 and not 0, and looks like more."""
    name = asked.path
    if reader.condition is not None:
        log.info("mask %s: band %d, %s", name, reader.bands[0], reader.legend)
        return
    if reader.why:
        log.info("mask %s is taken, %s, for %s", name, reader.why, reader.legend)
        return
    band = reader.bands[0]
    values = many_values(sample[band - 1])
    other = f"the first of its {count} bands has" if count > 1 and asked.band is None else "it has"
    if values is not None:
        _warn(
            f"mask {name} is taken as a mask, in which all that is not 0 is cloud, but {other} {values}; "
            f'say which are cloud, such as mask="{name}:{band}>50" or mask="{name}:{band}=3,8,9"'
        )
    elif count > 1 and asked.band is None:
        _warn(
            f"mask {name} has {count} bands, and the first is taken, in which all that is not 0 is "
            f'cloud; name another, such as mask="{name}:2"'
        )


def _warn_of_cover(
    asked: Selection,
    reader: MaskReader,
    meanings: NDArray[np.uint8],
    valid: NDArray[np.bool_] | None,
) -> None:
    """Warn where a mask covers nearly all of the scene: a wrong half, or a wrong threshold."""
    known = meanings != Meaning.NODATA
    if reader.kind == "nonzero":  # masks often declare their 0 as nodata
        known = np.ones_like(known)
    if valid is not None:
        known = known & valid
    cloudy = clouds_of(meanings) > 0
    share = cloudy[known].mean() if known.any() else 0.0
    if share > _NEARLY_ALL:
        _warn(
            f"mask {asked.path} covers {100 * share:.0f} % of the scene, and all of that is replaced. If "
            f'it says where it is clear, turn it round: mask="{asked.path}:{asked.band or 1}=0"'
        )


def _warn(message: str) -> None:
    warnings.warn(message, GeodecloudWarning, stacklevel=2)
