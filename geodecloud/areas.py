"""Areas on a scene's grid: clouds that a raster of the user's shows, and areas of interest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError
from rasterio.features import geometry_mask
from rasterio.vrt import WarpedVRT

from geodecloud.errors import SceneError, SceneIOError
from geodecloud.grid import Grid
from geodecloud.lazy import LazyWindows
from geodecloud.scene import absolute, open_raster, reading
from geodecloud.tiler import Window


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
    """A raster of the user's, non-zero = cloud, brought to the scene's grid by nearest."""

    def find(self, window: Window) -> NDArray[np.bool_]:
        with open_raster(self.path) as src:
            where = rasterio.windows.Window(*window)
            if Grid.of(src) == self.grid or not self.grid.has_place:
                values = src.read(1, window=where, masked=True)
            else:
                with WarpedVRT(
                    src,
                    crs=self.grid.crs,
                    transform=self.grid.transform,
                    width=self.shape[1],
                    height=self.shape[0],
                ) as vrt:
                    values = vrt.read(1, window=where, masked=True)
        return np.nan_to_num(values.filled(0)) != 0


class _Inside(_Areas):
    """An area of interest, rasterised where asked; a pixel is in if its centre is."""

    def __init__(self, path: str | Path, geometry: Any, grid: Grid) -> None:
        super().__init__(path, grid)
        self.geometry = geometry

    def find(self, window: Window) -> NDArray[np.bool_]:
        return geometry_mask(
            [self.geometry], window.shape_yx, self.grid.window_transform(window), invert=True
        )


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
        grid = Grid(None, grid.transform, grid.shape_yx)
    else:
        here = _outline_in(grid, mask_grid.crs, path)
        if here.intersection(mask_grid.footprint).area == 0:
            raise SceneError(
                f"mask {path} does not overlap the scene: it covers {_round(mask_grid.bounds)} and the "
                f"scene {_round(here.bounds)} in {mask_grid.crs}"
            )
    return da.from_array(_CloudFile(absolute(path), grid), chunks=chunks_yx, lock=False)


def open_aoi(path: str | Path, grid: Grid, chunks_yx: Any) -> da.Array:
    """An area of interest from any vector file, as a lazy bool array (y, x).

    Raises
    ------
    SceneIOError
        If the file cannot be read.
    SceneError
        If it has no CRS, no geometry, or does not overlap the scene.
    """
    import geopandas

    area, here, crs = _area_and_outline(path, grid)
    if area.intersection(here).area == 0:
        where = "is empty" if area.is_empty else f"covers {_round(area.bounds)}"
        raise SceneError(
            f"area of interest {path} does not overlap the scene: it {where} and the scene covers "
            f"{_round(here.bounds)} in its CRS"
        )
    # a little beyond the outline, so that curved edges cut no pixel of the scene off
    wide = area.intersection(here.buffer(0.01 * here.length))
    assert grid.crs is not None
    area = geopandas.GeoSeries([wide], crs=crs).to_crs(grid.crs.to_wkt()).make_valid().iloc[0]
    return da.from_array(_Inside(path, area, grid), chunks=chunks_yx, lock=False)


def touches_aoi(path: str | Path, grid: Grid) -> bool:
    """Whether a scene has ground in common with an area of interest; raises as `open_aoi`."""
    area, here, _ = _area_and_outline(path, grid)
    return bool(area.intersection(here).area > 0)


def _area_and_outline(path: str | Path, grid: Grid) -> tuple[Any, Any, Any]:
    """The area of interest, the scene's outline in its CRS, and that CRS."""
    import geopandas
    from pyogrio.errors import DataSourceError

    if not grid.has_place:
        raise SceneError(f"the scene has no georeference, so {path} cannot be placed on it")
    try:
        frame = geopandas.read_file(path)
    except (DataSourceError, OSError) as error:
        raise SceneIOError(f"{path} cannot be read as a vector file: {error}") from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise SceneError(f"{path} is a table without geometry, no area of interest")
    if frame.crs is None:
        raise SceneError(f"{path} has no CRS; the area of interest could be anywhere")
    # cut to the scene in the file's own CRS: far corners may have no place in the scene's
    here = _outline_in(grid, frame.crs, path)
    return frame.geometry.make_valid().union_all(), here, frame.crs


def _outline_in(grid: Grid, crs: Any, path: str | Path) -> Any:
    """The scene's outline in another CRS, with corners enough to follow its curves."""
    import geopandas

    assert grid.crs is not None  # callers have looked at grid.has_place
    outline = grid.footprint
    dense = outline.segmentize(outline.length / 80)
    try:
        series = geopandas.GeoSeries([dense], crs=grid.crs.to_wkt()).to_crs(
            crs.to_wkt() if hasattr(crs, "to_wkt") else crs
        )
    except (CRSError, ProjError) as error:
        raise SceneError(f"the CRS of {path} cannot be brought to the scene's: {error}") from error
    return series.make_valid().iloc[0]


def _round(bounds: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in bounds) + ")"
