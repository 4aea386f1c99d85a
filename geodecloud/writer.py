"""GeoTIFF and COG, with every piece of metadata, and never half of one.

`write_products` computes several rasters in one pass and publishes them together; how each of
them gets to the disk is `geodecloud.staging`'s business.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import rasterio
from rasterio.env import get_gdal_config, set_gdal_config

from geodecloud.errors import SceneError, SceneIOError
from geodecloud.metadata import VALID, Metadata
from geodecloud.parallel import Engine, engine
from geodecloud.scene import ONE_THREAD
from geodecloud.staging import FileFormat, MaskTarget, Product, Staging

if TYPE_CHECKING:
    import xarray as xr

#: GDAL's block cache in bytes. Its default, 5 % of the machine, is a large part of our peak.
CACHE_BYTES = 256 * 2**20
_SUFFIXES = ("", ".tif", ".tiff")


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
    array : DataArray, lazy or not; (y, x) is one band
    like : metadata to write, from `geodecloud.scene.read_metadata` of the source; None takes
        what the DataArray itself carries
    format : file format, creation options, overwriting
    workers : threads; None is one per core. With an active `distributed.Client` the cluster
        computes

    Raises
    ------
    SceneIOError
        If the target exists, or cannot be written.
    SceneError
        If the DataArray and `like` do not describe the same raster.
    """
    if array.ndim == 2:
        array = array.expand_dims("band")
    metadata = like if like is not None else Metadata.of_array(array)
    if (metadata.count, *metadata.grid.shape_yx) != array.shape:
        raise SceneError(
            f"the DataArray has the shape {array.shape}, but `like` describes {metadata.count} bands "
            f"of {metadata.grid.shape_yx}"
        )
    if array.dtype.name != metadata.dtypes[0] or array.dtype == bool:
        raise SceneError(
            f"the DataArray holds {array.dtype.name} and a file of {metadata.dtypes[0]} is to be "
            "written; convert it first, with .astype(...), so that rounding is your decision"
        )
    mask = array.coords.get(VALID) if metadata.has_mask else None
    product = Product(
        Path(path), da.asarray(array.data), metadata, mask=None if mask is None else mask.data
    )
    with engine(None, workers) as computer:
        write_products([product], format or FileFormat(), computer)
    return Path(path)


def write_products(
    products: Sequence[Product],
    format: FileFormat,
    computer: Engine,
    progress: Callable[[int], None] = lambda pixels: None,
    also: Sequence[tuple[da.Array, Any]] = (),
) -> None:
    """Compute and write several rasters in one pass over the scene.

    Parameters
    ----------
    products : their pixels are computed together and share the work
    computer : threads or a cluster
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
        if product.path.suffix.lower() not in _SUFFIXES:
            raise SceneIOError(f"{product.path} is to be a GeoTIFF; end its name in .tif")
        check_target(product.path, format.overwrite, _raw_bytes(product.metadata))
    with ExitStack() as stack:
        stack.enter_context(gdal_settings())
        staged = [stack.enter_context(Staging(product, format)) for product in products]
        targets = [stage.open() for stage in staged]
        targets[0].progress = progress
        masks = [
            (p.mask, MaskTarget(s.dst))
            for p, s in zip(products, staged, strict=True)
            if p.mask is not None
        ]
        computer.store(
            [*(p.pixels for p in products), *(array for array, _ in (*masks, *also))],
            [*targets, *(target for _, target in (*masks, *also))],
        )
        for stage in staged:
            stage.finish()
        for stage in staged:
            stage.publish()


@contextmanager
def gdal_settings() -> Iterator[None]:
    """GDAL settings for our own reading and writing; nobody else's are touched."""
    ours = {"GDAL_CACHEMAX": CACHE_BYTES, "GDAL_TIFF_INTERNAL_MASK": True, **ONE_THREAD}
    before = {name: get_gdal_config(name) for name in ours}
    with rasterio.Env(**ours):
        try:
            yield
        finally:
            # inside a caller's own Env, rasterio would leave our settings behind
            for name, value in before.items():
                set_gdal_config(name, value)


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
