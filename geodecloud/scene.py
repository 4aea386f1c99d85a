"""Opening rasters: scenes, masks and areas of interest, lazily and with clear refusals."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.features import geometry_mask
from rasterio.session import DummySession
from rasterio.vrt import WarpedVRT

from geodecloud.errors import GeodecloudError, SceneError, SceneIOError
from geodecloud.grid import Grid
from geodecloud.metadata import VALID, Metadata
from geodecloud.storage import is_remote
from geodecloud.tiler import Window

if TYPE_CHECKING:
    import xarray as xr
    from rasterio.io import DatasetReader

#: GDAL 3.10 decodes the blocks of a JPEG 2000 file on threads of its own and loses their errors:
#: a file that is cut off reads as zeros. On one thread it says so; the threads here are ours.
ONE_THREAD = {"GDAL_NUM_THREADS": "1"}


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Around all reading of pixels, in the thread that reads: damage is told, never read as zeros.

    Raises
    ------
    SceneIOError
        If GDAL fails.
    """
    try:
        # settings made in one thread are not those of another. The session: rasterio would look for
        # credentials each time, and opening a file does so anyway
        with rasterio.Env.from_defaults(session=DummySession(), **ONE_THREAD):
            yield
    except RasterioError as error:
        detail = error.__cause__ or error
        raise SceneIOError(
            f"{path} cannot be read, it may be cut off or damaged: {detail}"
        ) from error


def chunk_px(shape_yx: tuple[int, int]) -> int:
    """Side of the dask chunks for a scene: a multiple of most files' blocks.

    Small scenes get small chunks, so that every core has one to work on.
    """
    return 1024 if max(shape_yx) > 2048 else 512


def open_raster(path: str | Path) -> DatasetReader:
    """Open a raster with GDAL, or say in one sentence why not.

    Raises
    ------
    SceneIOError
        If the file is missing, unreadable or no raster.
    """
    if _is_local(path) and not os.path.exists(path):
        raise SceneIOError(f"{path} does not exist")
    try:
        with warnings.catch_warnings():
            # a scene without georeference is processed too; `info` says so in words
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path)
    except RasterioError as error:
        raise SceneIOError(f"{path} cannot be opened as a raster: {error}") from error


def _is_local(path: str | Path) -> bool:
    return not is_remote(path) and str(path).count(":") < 2  # NETCDF:file.nc:variable


def absolute(path: str | Path) -> str:
    """The path from any working directory: workers of a cluster have their own."""
    return os.path.abspath(path) if os.path.exists(path) else str(path)


def read_metadata(path: str | Path) -> Metadata:
    """Everything a file says besides its pixels.

    Raises
    ------
    SceneIOError
        If it cannot be opened.
    SceneError
        If it is a container of several rasters, or its pixels are complex numbers.
    """
    with open_raster(path) as src:
        if src.count == 0 or src.subdatasets:
            inside = "\n".join(f"  {name}" for name in src.subdatasets)
            raise SceneError(
                f"{path} is a container of several rasters. Give one of them:\n{inside}"
                if inside
                else f"{path} holds no bands"
            )
        if any(np.issubdtype(np.dtype(_numpy_name(d)), np.complexfloating) for d in src.dtypes):
            raise SceneError(
                f"{path} holds complex numbers ({src.dtypes[0]}): radar, not reflectance. "
                "Clouds do not show in it"
            )
        if len(set(src.dtypes)) > 1:
            raise SceneError(
                f"{path} mixes dtypes {', '.join(src.dtypes)}; a GeoTIFF holds one. Convert the "
                "bands to one dtype first, for example with: rio convert --dtype"
            )
        if len({str(number) for number in src.nodatavals}) > 1:
            raise SceneError(
                f"{path} gives its bands different nodata numbers {src.nodatavals}; a GeoTIFF holds "
                "one. Bring them to one first, for example with: gdalwarp -dstnodata 0"
            )
        return Metadata.of_dataset(src)


def _numpy_name(dtype: str) -> str:
    return "complex64" if dtype.startswith("complex") else dtype


def open_array(path: str | Path, metadata: Metadata, side: int | None = None) -> xr.DataArray:
    """Open a raster lazily; see `geodecloud.source.open_scene` for what comes out.

    Parameters
    ----------
    path : anything GDAL reads
    metadata : from `read_metadata`
    side : of the dask chunks, px; None: by the size of the scene
    """
    import rioxarray

    side = side or chunk_px(metadata.grid.shape_yx)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # georeference and scale remarks; Metadata has it all
        array = rioxarray.open_rasterio(
            absolute(path), cache=False, lock=False, decode_times=False, decode_timedelta=False
        )
    array.encoding.pop("preferred_chunks", None)  # the file's blocks; dask has its own chunks
    pixels = _Pixels(absolute(path), array.variable)
    array = array.copy(data=da.from_array(pixels, chunks=(-1, side, side), lock=False))
    array = array.rename({array.dims[0]: "band"}) if array.dims[0] != "band" else array
    if metadata.alpha is not None:
        valid = array.data[metadata.alpha] > 0  # GDAL takes alpha for a mask in some layouts only
    elif metadata.has_mask:
        file_mask = _FileMask(absolute(path), metadata.grid)
        valid = da.from_array(file_mask, chunks=(side, side), lock=False)
    else:
        return array
    return array.assign_coords({VALID: (array.dims[-2:], valid)})


def read_sample(path: str | Path) -> NDArray[Any]:
    """Some pixels of a scene, (band, y, x), at most about 256 x 256.

    The whole scene thinned out where it is small or has overviews, else sixteen patches side by side:
    to thin out a file without overviews GDAL reads all of it.
    """
    with open_raster(path) as src, reading(path):
        if min(src.shape) > 1024 and not src.overviews(1):
            return _patches(src)
        shrink = max(1, max(src.shape) // 256)
        shape = (src.count, max(1, src.height // shrink), max(1, src.width // shrink))
        return src.read(out_shape=shape)  # type: ignore[no-any-return,unused-ignore]


def _patches(src: DatasetReader) -> NDArray[Any]:
    """Four by four patches of 64 px, spread over a raster, (band, 256, 256)."""
    side, count = 64, 4
    sample = np.empty((src.count, count * side, count * side), src.dtypes[0])
    for i, j in np.ndindex(count, count):
        top, left = (
            (2 * k + 1) * n // (2 * count) - side // 2
            for k, n in zip((i, j), src.shape, strict=True)
        )
        window = rasterio.windows.Window(left, top, side, side)
        here = np.s_[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
        sample[here] = src.read(window=window)
    return sample


def source_files(path: str | Path) -> list[str]:
    """The files on disk behind a path: itself, and what GDAL reads with it.

    That are the parts of a VRT, the file of a page (``GTIFF_DIR:2:pages.tif``), masks and side files.
    """
    files = [str(path)]
    if str(path).lower().endswith(".shp"):
        parts = (Path(path).with_suffix(end) for end in (".shx", ".dbf", ".prj", ".cpg"))
        return files + [str(part) for part in parts if part.is_file()]
    if is_remote(path) and not str(path).startswith("vrt://"):
        return files
    with suppress(GeodecloudError), open_raster(path) as src:
        for name in src.files:
            if os.path.isfile(name) and name not in files:
                files += source_files(name) if name.lower().endswith(".vrt") else [name]
    return files


class _Pixels:
    """The bands (band, y, x) of a file; dask asks for one window at a time."""

    def __init__(self, path: str, variable: xr.Variable) -> None:
        # rioxarray's: it opens the file once in each thread, and reads what is asked for
        self.path, self._variable = path, variable
        self.shape, self.dtype, self.ndim = variable.shape, variable.dtype, variable.ndim

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        changed = os.path.getmtime(self.path) if os.path.exists(self.path) else None
        return type(self).__name__, self.path, changed

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        with reading(self.path):
            pixels: NDArray[Any] = self._variable[key].values
            return pixels


class _Lazy:
    """A (y, x) bool array that dask asks for one window at a time."""

    dtype, ndim = np.dtype(bool), 2

    def __init__(self, path: str | Path, grid: Grid) -> None:
        self.path, self.grid = path, grid
        self.shape = grid.shape_yx

    def __getitem__(self, key: tuple[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        # dask hands on what the user selects: slices, numbers or lists
        picks = [np.arange(n)[k] for n, k in zip(self.shape, key, strict=True)]
        shape = [pick.size for pick in picks if pick.ndim]
        if 0 in shape:
            return np.empty(shape, bool)
        rows, cols = (np.atleast_1d(pick) for pick in picks)
        left, top = int(cols.min()), int(rows.min())
        window = Window(left, top, int(cols.max()) + 1 - left, int(rows.max()) + 1 - top)
        with reading(self.path):
            found = self.read(window)
        return found[rows[:, None] - top, cols - left].reshape(shape)

    def read(self, window: Window) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Pixels of one window."""
        raise NotImplementedError


class _FileMask(_Lazy):
    """The mask a file carries, internal or beside it."""

    def read(self, window: Window) -> np.ndarray[Any, np.dtype[np.bool_]]:
        # opened anew in each thread: GDAL datasets must not be shared
        with open_raster(self.path) as src:
            return src.dataset_mask(window=rasterio.windows.Window(*window)) > 0


class _CloudFile(_Lazy):
    """A raster of the user's, non-zero = cloud, brought to the scene's grid by nearest."""

    def read(self, window: Window) -> np.ndarray[Any, np.dtype[np.bool_]]:
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


class _Area(_Lazy):
    """An area of interest, rasterised where asked; a pixel is in if its centre is."""

    def __init__(self, path: str | Path, geometry: Any, grid: Grid) -> None:
        super().__init__(path, grid)
        self.geometry = geometry

    def read(self, window: Window) -> np.ndarray[Any, np.dtype[np.bool_]]:
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
    return da.from_array(_Area(path, area, grid), chunks=chunks_yx, lock=False)


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
