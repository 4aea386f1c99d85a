"""Areas on a scene's grid: clouds that a raster of the user's shows, and areas of interest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from rasterio.vrt import WarpedVRT

from geodecloud.errors import SceneError, SceneIOError
from geodecloud.masks.region import Region
from geodecloud.raster.lazy import LazyWindows
from geodecloud.raster.reader import absolute, open_raster, reading
from geodecloud.scene.grid import Grid
from geodecloud.windows.tiler import Window


class _Areas(LazyWindows):
    """A (y, x) bool array on the scene's grid."""

    dtype = np.dtype(bool)

    def __init__(self, path: str | Path, grid: Grid) -> None:
        self.path, self.grid = path, grid
        self.shape = grid.shape_yx

    def read(self, rows: tuple[int, int], cols: tuple[int, int], *lead: Any) -> NDArray[Any]:
        """Pixels of one window."""
        window = Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0])
        with reading(self.path):
            return self.find(window)

    def find(self, window: Window) -> NDArray[np.bool_]:
        """Where it is true."""
        raise NotImplementedError


class _CloudFile(_Areas):
    """A raster of the user's, non-zero = cloud, brought to the scene's grid by nearest.

    GDAL takes longitudes as they are, so a raster that reaches beyond 180 is read once for each of
    `shifts`: as it lies, and a turn of the globe away.
    """

    def __init__(self, path: str | Path, grid: Grid, shifts: Sequence[float]) -> None:
        super().__init__(path, grid)
        self.shifts = shifts

    def find(self, window: Window) -> NDArray[np.bool_]:
        with open_raster(self.path) as src:
            where = rasterio.windows.Window(*window)
            if Grid.of(src) == self.grid or not self.grid.has_place:
                return _is_cloud(src.read(1, window=where, masked=True))
            a, b, c, d, e, f = src.transform[:6]
            clouds = np.zeros(window.shape_yx, bool)
            for shift in self.shifts:
                with WarpedVRT(
                    src,
                    src_transform=Affine(a, b, c + shift, d, e, f),
                    crs=self.grid.crs,
                    transform=self.grid.transform,
                    width=self.shape[1],
                    height=self.shape[0],
                    # in its pixels; GDAL's default of 1/8 often takes the nearest but one
                    tolerance=1e-3,
                    # of a window's outline; at 21 of them GDAL misses where it crosses 180
                    SAMPLE_STEPS="ALL",
                ) as vrt:
                    clouds |= _is_cloud(vrt.read(1, window=where, masked=True))
        return clouds


def _is_cloud(values: np.ma.MaskedArray[Any, Any]) -> NDArray[np.bool_]:
    return np.nan_to_num(values.filled(0)) != 0


class _Inside(_Areas):
    """An area of interest; a pixel is in if its centre is."""

    def __init__(self, path: str | Path, region: Region) -> None:
        super().__init__(path, region.grid)
        self.region = region

    def find(self, window: Window) -> NDArray[np.bool_]:
        return self.region.find(window)


def open_mask(path: str | Path, grid: Grid, chunks_yx: Any) -> da.Array:
    """A cloud mask file as a lazy bool array (y, x) on the scene's grid.

    Raises
    ------
    SceneError
        If the mask does not overlap the scene, or cannot be placed on it.
    """
    with open_raster(path) as src:
        mask_grid = Grid.of(src)
    if not (grid.has_place and mask_grid.has_place):
        if mask_grid.shape_yx != grid.shape_yx:
            raise SceneError(
                f"mask {path} is {mask_grid} and the scene is {grid}: without a georeference on "
                "both they must have the same size"
            )
        grid, shifts = Grid(None, grid.transform, grid.shape_yx), [0.0]
    else:
        region = _region(path, mask_grid.footprint, mask_grid.crs, grid)
        if region.is_empty():
            raise SceneError(f"mask {path} does not overlap the scene: {_where(region)}")
        shifts = region.shifts
    return da.from_array(_CloudFile(absolute(path), grid, shifts), chunks=chunks_yx, lock=False)


def open_aoi(path: str | Path, grid: Grid, chunks_yx: Any) -> da.Array:
    """An area of interest from any vector file, as a lazy bool array (y, x).

    Raises
    ------
    SceneIOError
        If the file cannot be read.
    SceneError
        If it has several layers, no CRS or no area, or does not overlap the scene.
    """
    region = _read_aoi(path, grid)
    if region.is_empty():
        raise SceneError(f"area of interest {path} does not overlap the scene: {_where(region)}")
    # one window at a time: GEOS indexes a geometry when it is first asked, without a lock
    return da.from_array(_Inside(path, region), chunks=chunks_yx, lock=True)


def touches_aoi(path: str | Path, grid: Grid) -> bool:
    """Whether an area of interest has pixels of a scene; raises as `open_aoi`."""
    return not _read_aoi(path, grid).is_empty()


def _read_aoi(path: str | Path, grid: Grid) -> Region:
    import geopandas
    import pyogrio
    from pyogrio.errors import DataSourceError

    if not grid.has_place:
        raise SceneError(f"the scene has no georeference, so {path} cannot be placed on it")
    try:
        layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
        if not layers:
            raise SceneError(f"{path} is a table without geometry, no area of interest")
        if len(layers) > 1:
            raise SceneError(
                f"{path} has {len(layers)} layers ({', '.join(layers)}), and an area of interest is one; "
                f"write it to a file of its own: ogr2ogr aoi.gpkg {path} {layers[0]}"
            )
        frame = geopandas.read_file(path, layer=layers[0])
    except (DataSourceError, OSError) as error:
        raise SceneIOError(f"{path} cannot be read as a vector file: {error}") from error
    if frame.crs is None:
        raise SceneError(f"{path} has no CRS; the area of interest could be anywhere")
    parts = shapely.get_parts(frame.geometry.make_valid().union_all())
    polygons = parts[shapely.get_dimensions(parts) == 2]
    if polygons.size == 0:
        kinds = sorted({part.geom_type for part in parts})
        raise SceneError(
            f"area of interest {path} has no area: it holds {' and '.join(kinds) or 'nothing'}, no polygon"
        )
    return _region(path, shapely.MultiPolygon(list(polygons)), frame.crs, grid)


def _region(path: str | Path, polygons: Any, crs: Any, grid: Grid) -> Region:
    try:
        return Region(polygons, crs, grid)
    except ProjError as error:  # CRSError is one too
        raise SceneError(f"the CRS of {path} cannot be brought to the scene's: {error}") from error


def _where(region: Region) -> str:
    """What a region and its scene cover, for a message on two that do not meet."""
    height, width = region.grid.shape_yx
    x, y = region.place(np.array([height / 2, width / 2]))
    middle = f"is at ({x:.6g}, {y:.6g})" if np.isfinite(x + y) else "has no place"
    bounds = ", ".join(f"{value:.6g}" for value in region.polygons.bounds)
    return (
        f"no pixel has its centre in it; it covers ({bounds}) in {region.crs.name}, where the middle of "
        f"the scene {middle}"
    )
