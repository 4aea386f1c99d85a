"""Areas of interest on a scene's grid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import shapely
from dask.utils import SerializableLock
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from shapely.errors import ShapelyError

from geodecloud.errors import SceneError, SceneIOError
from geodecloud.masks.region import Region
from geodecloud.raster.gdal import SHUT, is_shut
from geodecloud.raster.lazy import LazyWindows
from geodecloud.scene.grid import Grid
from geodecloud.windows.tiler import Window


class _Inside(LazyWindows):
    """An area of interest as a (y, x) bool array; a pixel is in if its centre is."""

    dtype = np.dtype(bool)

    def __init__(self, region: Region) -> None:
        self.region, self.shape = region, region.grid.shape_yx
        # GEOS indexes a geometry when it is first asked, which two threads may not do at once; dask's
        # own lock is of no use: where slices are fused, as in every run, it is lost
        self.lock = SerializableLock()

    def read(self, rows: tuple[int, int], cols: tuple[int, int], *lead: Any) -> NDArray[Any]:
        """Pixels of one window."""
        with self.lock:
            return self.region.find(Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0]))


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
        raise SceneError(
            f"area of interest {path} does not overlap the scene: {whereabouts(region)}"
        )
    return da.from_array(_Inside(region), chunks=chunks_yx, lock=False)


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
        with _vector_settings(path):
            layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
            if not layers:
                raise SceneError(f"{path} is a table without geometry, no area of interest")
            if len(layers) > 1:
                raise SceneError(
                    f"{path} has {len(layers)} layers ({', '.join(layers)}), and an area of interest is "
                    f"one; write it to a file of its own: ogr2ogr aoi.gpkg {path} {layers[0]}"
                )
            frame = geopandas.read_file(path, layer=layers[0])
    except (DataSourceError, OSError, ShapelyError) as error:  # or an outline does not close
        raise SceneIOError(f"{path} cannot be read as a vector file: {error}") from error
    if frame.crs is None:
        raise SceneError(f"{path} has no CRS; the area of interest could be anywhere")
    try:
        parts = shapely.get_parts(frame.geometry.make_valid().union_all())
    except ShapelyError as error:  # of coordinates that are no numbers
        raise SceneError(f"the outlines of {path} cannot be put together: {error}") from error
    polygons = parts[shapely.get_dimensions(parts) == 2]
    if polygons.size == 0:
        kinds = sorted({part.geom_type for part in parts})
        raise SceneError(
            f"area of interest {path} has no area: it holds {' and '.join(kinds) or 'nothing'}, no polygon"
        )
    return place_region(path, shapely.MultiPolygon(list(polygons)), frame.crs, grid)


@contextmanager
def _vector_settings(path: str | Path) -> Iterator[None]:
    """Keep the GDAL of pyogrio, which is not rasterio's, from the network where a file on disk is read."""
    import pyogrio

    ours = SHUT if is_shut(path) else {}
    before = {name: pyogrio.get_gdal_config_option(name) for name in ours}
    pyogrio.set_gdal_config_options(ours)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


def place_region(path: str | Path, polygons: Any, crs: Any, grid: Grid) -> Region:
    """Polygons of a file on a scene's grid.

    Raises
    ------
    SceneError
        If there is no way from the scene's CRS to theirs.
    """
    try:
        return Region(polygons, crs, grid)
    except ProjError as error:  # CRSError is one too
        raise SceneError(f"the CRS of {path} cannot be brought to the scene's: {error}") from error


def whereabouts(region: Region) -> str:
    """What a region and its scene cover, for a message on two that do not meet."""
    height, width = region.grid.shape_yx
    x, y = region.place(np.array([height / 2, width / 2]))
    middle = f"is at ({x:.6g}, {y:.6g})" if np.isfinite(x + y) else "has no place"
    bounds = ", ".join(f"{value:.6g}" for value in region.polygons.bounds)
    return (
        f"no pixel has its centre in it; it covers ({bounds}) in {region.crs.name}, where the middle of "
        f"the scene {middle}"
    )
