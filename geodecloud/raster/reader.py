"""Opening rasters: scenes, masks and areas of interest, lazily and with clear refusals."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning

from geodecloud.errors import GeodecloudError, SceneError, SceneIOError
from geodecloud.raster.gdal import (
    ALLOW_REMOTE,
    GDAL_ERRORS,
    check_drivers,
    gdal_settings,
    is_shut,
)
from geodecloud.raster.lazy import LazyWindows
from geodecloud.raster.side_files import read_side_facts
from geodecloud.scene.address import is_remote, local_path
from geodecloud.scene.metadata import VALID, Metadata
from geodecloud.windows.tiler import chunk_px

if TYPE_CHECKING:
    import xarray as xr
    from rasterio.io import DatasetReader


#: How GDAL names what is not on this disk.
_ELSEWHERE = re.compile(r"/vsi\w+/|https?:|port \d+ via |(?i:download)|HTTP")


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Around all reading of pixels, in the thread that reads: damage is told, never read as zeros.

    Raises
    ------
    SceneIOError
        If GDAL fails.
    """
    try:
        with gdal_settings(path, shut=is_shut(path)):
            yield
    except GDAL_ERRORS as error:
        detail = _told(path, error.__cause__ or error)
        raise SceneIOError(
            f"{path} cannot be read, it may be cut off or damaged: {detail}"
        ) from error


def _told(path: str | Path, error: BaseException) -> str:
    """What GDAL says, and what to do where it was kept from the network."""
    text = str(error)
    if is_shut(path) and _ELSEWHERE.search(text):
        text += (
            ". It refers to another host, and files on disk are read without the network; if you trust "
            f"it, set the environment variable {ALLOW_REMOTE}=YES"
        )
    return text


@contextmanager
def open_raster(path: str | Path) -> Iterator[DatasetReader]:
    """Open a raster with GDAL for a while, or say in one sentence why not.

    Raises
    ------
    SceneIOError
        If the file is missing, unreadable or no raster.
    """
    # GDAL looks at much of a file only when it is asked, and then says what is damaged
    with reading(path), open_dataset(path) as src:
        yield src


def open_dataset(path: str | Path) -> DatasetReader:
    """Open a raster with GDAL for as long as the caller wants, who reads inside `reading`.

    Raises
    ------
    SceneIOError
        If the file is missing, unreadable or no raster.
    """
    if _is_local(path) and not os.path.exists(path):
        raise SceneIOError(f"{path} does not exist")
    check_drivers()
    try:
        with gdal_settings(path, shut=is_shut(path)), warnings.catch_warnings():
            # a scene without georeference is processed too; `info` says so in words
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path)
    except GDAL_ERRORS as error:
        detail = _told(path, error)
        raise SceneIOError(f"{path} cannot be opened as a raster: {detail}") from error


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
        return _metadata_of(path, src)


def read_metadata_and_files(path: str | Path) -> tuple[Metadata, list[str]]:
    """Everything a file says besides its pixels, see `read_metadata`; and the files behind it, see `source_files`."""
    with open_raster(path) as src:
        return _metadata_of(path, src), _files_of(path, src)


def _metadata_of(path: str | Path, src: DatasetReader) -> Metadata:
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
    return replace(Metadata.of_dataset(src), side_facts=read_side_facts(src))


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
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # georeference and scale remarks; Metadata has it all
        array = rioxarray.open_rasterio(
            absolute(path), cache=False, lock=False, decode_times=False, decode_timedelta=False
        )
    close = array.close  # those made of it know no file
    array.encoding.pop("preferred_chunks", None)  # the file's blocks; dask has its own chunks
    pixels = _Pixels(absolute(path), array.variable)
    array = array.copy(data=da.from_array(pixels, chunks=(-1, side, side), lock=False))
    array = array.rename({array.dims[0]: "band"}) if array.dims[0] != "band" else array
    valid = open_file_mask(path, metadata, side)
    if metadata.alpha is not None:
        opaque = array.data[metadata.alpha] > 0  # GDAL takes alpha for a mask in some layouts only
        valid = opaque if valid is None else valid & opaque
    if valid is not None:
        array = array.assign_coords({VALID: (array.dims[-2:], valid)})
    array.set_close(close)
    return array


def open_file_mask(path: str | Path, metadata: Metadata, side: int) -> da.Array | None:
    """The mask (y, x) a file carries, internal, beside it or by a tag, lazily; None: it has none."""
    if not (metadata.has_mask or metadata.masked_by_tag):
        return None
    mask = _FileMask(absolute(path), metadata.grid.shape_yx)
    return da.from_array(mask, chunks=(side, side), lock=False)


def read_sample(path: str | Path) -> NDArray[Any]:
    """Some pixels of a scene that its mask or alpha band calls valid, (band, 1, N), N about 65 000.

    The whole scene thinned out where it is small or has overviews, else sixteen patches: to thin out a
    file without overviews GDAL reads all of it.
    """
    with open_raster(path) as src, reading(path):
        if min(src.shape) > 1024 and not src.overviews(1):
            parts = [_valid_pixels(src, window=window) for window in _patches(src)]
        else:
            shrink = max(1, max(src.shape) // 256)
            shape = max(1, src.height // shrink), max(1, src.width // shrink)
            parts = [_valid_pixels(src, out_shape=shape)]
        return np.concatenate(parts, axis=1)[:, None]


def _valid_pixels(src: DatasetReader, **where: Any) -> NDArray[Any]:
    """Pixels (band, N) of a part of a raster; numbers that stand for no data are still there."""
    alpha = (
        src.colorinterp.index(ColorInterp.alpha) if ColorInterp.alpha in src.colorinterp else None
    )
    in_bands = {k: (src.count, *v) if k == "out_shape" else v for k, v in where.items()}
    pixels = src.read(**in_bands)
    valid = np.ones(pixels.shape[1:], bool) if alpha is None else pixels[alpha] > 0
    if MaskFlags.per_dataset in src.mask_flag_enums[0]:
        valid &= src.dataset_mask(**where) > 0
    return pixels[:, valid]  # type: ignore[no-any-return,unused-ignore]


def _patches(src: DatasetReader) -> list[rasterio.windows.Window]:
    """Four by four patches of 64 px, spread over a raster."""
    side, count = 64, 4
    tops, lefts = (
        [(2 * k + 1) * n // (2 * count) - side // 2 for k in range(count)] for n in src.shape
    )
    return [rasterio.windows.Window(left, top, side, side) for top in tops for left in lefts]


def source_files(path: str | Path) -> list[str]:
    """The files on disk behind a path: itself, and what GDAL reads with it.

    That are the parts of a VRT, the file of a page (``GTIFF_DIR:2:pages.tif``), masks and side files.
    """
    path = local_path(path)
    if path.lower().endswith(".shp"):
        parts = (Path(path).with_suffix(end) for end in (".shx", ".dbf", ".prj", ".cpg"))
        return [path, *(str(part) for part in parts if part.is_file())]
    if not is_remote(path) or path.startswith("vrt://"):
        with suppress(GeodecloudError), open_raster(path) as src:
            return _files_of(path, src)
    return [path]


def _files_of(path: str | Path, src: DatasetReader) -> list[str]:
    files = [local_path(path)]
    with suppress(*GDAL_ERRORS):  # what keeps it from being listed is told when it is read
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


class _FileMask(LazyWindows):
    """The mask (y, x) a file carries, internal or beside it."""

    dtype = np.dtype(bool)

    def __init__(self, path: str, shape_yx: tuple[int, int]) -> None:
        self.path, self.shape = path, shape_yx

    def read(self, rows: tuple[int, int], cols: tuple[int, int], *lead: Any) -> NDArray[Any]:
        """Pixels of one window."""
        # opened anew in each thread: GDAL datasets must not be shared
        with reading(self.path), open_raster(self.path) as src:
            return src.dataset_mask(window=rasterio.windows.Window.from_slices(rows, cols)) > 0
