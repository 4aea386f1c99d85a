"""GeoTIFF and COG, with every piece of metadata, and never half of one.

Pixels stream into an uncompressed tiled GeoTIFF beside the target, GDAL turns it into the
final file in one copy, and a rename puts it in place. GDAL's COG driver cannot be written to
directly (it would hold the raster in memory) and a finished COG cannot be edited, so all
metadata goes in before the copy.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError

from geodecloud.errors import OptionError, SceneIOError
from geodecloud.metadata import Metadata
from geodecloud.parallel import cpu_count, store

if TYPE_CHECKING:
    import xarray as xr
    from rasterio.io import DatasetWriter

#: GDAL's block cache. Its default, 5 % of the machine, is most of a laptop's peak memory.
CACHE_MB = 256
_OPTIONS: dict[str, dict[str, str]] = {
    "cog": {"driver": "COG", "BLOCKSIZE": "512"},
    "gtiff": {"driver": "GTiff", "TILED": "YES", "BLOCKXSIZE": "512", "BLOCKYSIZE": "512"},
}
_COMMON = {"COMPRESS": "DEFLATE", "BIGTIFF": "IF_SAFER", "NUM_THREADS": "ALL_CPUS"}


@dataclass(frozen=True)
class Product:
    """One raster to write: pixels (band, y, x) or (y, x), metadata, and how to thin it out.

    Attributes
    ----------
    resampling : of the overviews, "average" for measurements, "nearest" for codes
    mask : lazy bool (y, x), written as the file's own mask; None: it has none
    """

    path: Path
    pixels: da.Array
    metadata: Metadata
    resampling: str = "average"
    mask: da.Array | None = None


@dataclass(frozen=True)
class FileFormat:
    """How files are written: ``"cog"`` or ``"gtiff"``, and GDAL creation options."""

    name: str = "cog"
    creation_options: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.name not in _OPTIONS:
            raise OptionError(f"format {self.name!r} is unknown; use cog or gtiff")


def write_scene(
    array: xr.DataArray,
    path: str | Path,
    like: Metadata | None = None,
    format: FileFormat | None = None,
    workers: int | None = None,
) -> Path:
    """Write a (band, y, x) DataArray of any size as GeoTIFF or COG.

    Parameters
    ----------
    array : DataArray, lazy or not
    like : metadata to write, from `geodecloud.scene.read_metadata` of the source; None takes
        what the DataArray itself carries
    format : file format, creation options, overwriting
    workers : threads; None is one per core

    Raises
    ------
    SceneIOError
        If the target exists, or cannot be written.
    """
    pixels = da.asarray(array.data)
    metadata = like if like is not None else Metadata.of_array(array)
    product = Product(Path(path), pixels, metadata)
    write_products([product], format or FileFormat(), workers or cpu_count())
    return Path(path)


def write_products(
    products: Sequence[Product],
    format: FileFormat,
    workers: int,
    progress: Callable[[int], None] = lambda pixels: None,
    also: Sequence[tuple[da.Array, Any]] = (),
) -> None:
    """Compute and write several rasters in one pass over the scene.

    Parameters
    ----------
    products : their pixels are computed together and share the work
    progress : called with the number of pixels of the first product just written
    also : further arrays of the same pass, with what takes their blocks

    Raises
    ------
    SceneIOError
        If a target exists and may not be overwritten, or cannot be written.
    RasterioError
        If reading the pixels fails. Nothing is left at any target then either.
    """
    for product in products:
        check_target(product.path, format.overwrite, _raw_bytes(product.metadata))
    try:
        with ExitStack() as stack:
            stack.enter_context(gdal_settings())
            staged = [stack.enter_context(_Staging(product, format)) for product in products]
            targets = [stage.target for stage in staged]
            targets[0].progress = progress
            masks = [
                (p.mask, MaskTarget(s.dst))
                for p, s in zip(products, staged, strict=True)
                if p.mask is not None
            ]
            store(
                [*(p.pixels for p in products), *(array for array, _ in (*masks, *also))],
                [*targets, *(target for _, target in (*masks, *also))],
                workers,
            )
            for stage in staged:
                stage.finish()
            for stage in staged:
                os.replace(stage.final, stage.product.path)
    except CPLE_BaseError as error:
        raise SceneIOError(f"{products[0].path} cannot be written: {error}") from error


@contextmanager
def gdal_settings() -> Iterator[None]:
    """GDAL settings for our own reading and writing; nobody else's are touched."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB, GDAL_TIFF_INTERNAL_MASK=True):
        yield


def check_target(path: Path, overwrite: bool, raw_bytes: int = 0) -> None:
    """Refuse early what would fail late.

    Raises
    ------
    SceneIOError
        If the target exists without leave to overwrite, its folder is missing or not
        writable, or its disk is too full for the scene.
    """
    if "://" in str(path) or str(path).startswith("/vsi"):
        raise SceneIOError(f"{path}: outputs are written to local files; copy it there afterwards")
    if path.is_dir():
        raise SceneIOError(
            f"{path} is a folder; name the file to write, such as {path / 'clear.tif'}"
        )
    if path.exists() and not overwrite:
        raise SceneIOError(f"{path} exists; give --overwrite to replace it")
    folder = path.parent
    if not folder.is_dir():
        raise SceneIOError(f"the folder {folder} of {path.name} does not exist; make it first")
    try:
        tempfile.TemporaryFile(dir=folder).close()  # os.access does not know network shares
    except OSError as error:
        raise SceneIOError(f"{folder} cannot be written to: {error}") from error
    free = shutil.disk_usage(folder).free
    if free < 2 * raw_bytes:
        raise SceneIOError(
            f"{folder} has {free / 1e9:.1f} GB free; writing {path.name} needs up to "
            f"{2 * raw_bytes / 1e9:.1f} GB on the way"
        )


def _raw_bytes(metadata: Metadata) -> int:
    height, width = metadata.grid.shape_yx
    return height * width * metadata.count * np.dtype(metadata.dtypes[0]).itemsize


class _Staging:
    """The two temporary files of one product: raw pixels, then the finished raster."""

    def __init__(self, product: Product, format: FileFormat) -> None:
        self.product, self.format = product, format
        stem = f".{product.path.name}.{os.getpid()}"
        self.raw = product.path.with_name(f"{stem}.raw.tif")
        self.final = product.path.with_name(f"{stem}.part.tif")
        self.dst: DatasetWriter | None = None

    def __enter__(self) -> _Staging:
        self.dst = rasterio.open(
            self.raw,
            "w",
            driver="GTiff",
            tiled=True,
            blockxsize=512,
            blockysize=512,
            **self.product.metadata.profile(),
        )
        self.product.metadata.write_to(self.dst)
        self.target = RasterTarget(self.dst)
        return self

    def finish(self) -> None:
        """Close the raw file and make the finished one of it, on disk."""
        assert self.dst is not None
        self.dst.close()
        options = dict(_OPTIONS[self.format.name]) | _COMMON
        options["PREDICTOR"] = _predictor(self.product.metadata, self.format.name)
        if self.format.name == "cog":
            palette = ColorInterp.palette in self.product.metadata.colorinterp
            options["OVERVIEW_RESAMPLING"] = "nearest" if palette else self.product.resampling
        options |= {key.upper(): value for key, value in self.format.creation_options.items()}
        rasterio.shutil.copy(self.raw, self.final, **options)
        with open(self.final, "rb") as written:
            os.fsync(written.fileno())

    def __exit__(self, *_: object) -> None:
        if self.dst is not None:
            self.dst.close()
        for path in (self.raw, self.final):
            for leftover in (path, path.with_name(path.name + ".aux.xml")):
                leftover.unlink(missing_ok=True)


def _predictor(metadata: Metadata, format: str) -> str:
    if format == "cog":
        return "YES"  # the driver knows which one fits the dtype
    return "3" if np.issubdtype(np.dtype(metadata.dtypes[0]), np.floating) else "2"


class RasterTarget:
    """Takes blocks of (band, y, x) or (y, x) by index and writes them as windows."""

    def __init__(self, dst: DatasetWriter) -> None:
        self.dst = dst
        self.progress: Callable[[int], None] = lambda pixels: None

    def __setitem__(self, key: tuple[slice, ...], block: np.ndarray[Any, Any]) -> None:
        window = _window(key, block)
        try:
            if block.ndim == 2:
                self.dst.write(block, 1, window=window)
            else:
                first = (key[0].start or 0) + 1
                self.dst.write(block, list(range(first, first + len(block))), window=window)
        except RasterioError as error:
            raise SceneIOError(f"{self.dst.name} cannot be written: {error}") from error
        self.progress(window.width * window.height)


class MaskTarget:
    """Takes bool blocks (y, x) and writes them as the dataset's own mask."""

    def __init__(self, dst: DatasetWriter | None) -> None:
        self.dst = dst

    def __setitem__(self, key: tuple[slice, ...], block: np.ndarray[Any, Any]) -> None:
        assert self.dst is not None
        self.dst.write_mask(block, window=_window(key, block))


def _window(key: tuple[slice, ...], block: np.ndarray[Any, Any]) -> rasterio.windows.Window:
    rows, cols = key[-2:]
    height, width = block.shape[-2:]
    return rasterio.windows.Window(cols.start or 0, rows.start or 0, width, height)
