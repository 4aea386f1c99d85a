"""Where a scene comes from: a raster file, or a Sentinel-2 product. One door for both."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from geodecloud.errors import OptionError, SceneError
from geodecloud.raster.archives import HOW_WITH_ZARR, is_zarr
from geodecloud.raster.raster_file import RasterFile
from geodecloud.scene.address import local_path
from geodecloud.scene.grid import Grid
from geodecloud.scene.metadata import Metadata
from geodecloud.sentinel2.documents import ProductFacts
from geodecloud.sentinel2.files import find_products
from geodecloud.sentinel2.product import Sentinel2Product

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr


class Source(Protocol):
    """What the pipeline asks of a scene's origin. No pixel is read before it is asked for."""

    @property
    def path(self) -> str:
        """Where the user finds it."""

    @property
    def name(self) -> str:
        """What it is called, for tags and the names of results."""

    @property
    def files(self) -> list[str]:
        """The files on disk that are read."""

    @property
    def band_places(self) -> list[tuple[str, int]]:
        """Where GDAL finds each band: a file, and the 1-based band in it."""

    @property
    def grid(self) -> Grid:
        """Where it lies, after a look at no more of it than that takes."""

    @property
    def metadata(self) -> Metadata:
        """Everything it says besides its pixels."""

    @property
    def facts(self) -> ProductFacts | None:
        """What the documents of a product say; None: it is no product."""

    @property
    def date(self) -> datetime.date | None:
        """The day it was acquired, where anything says so."""

    @property
    def band_names(self) -> list[str]:
        """Names for files of single bands."""

    def open(self, side: int | None = None) -> xr.DataArray:
        """The scene (band, y, x), lazily, in dask chunks of `side` px."""

    def file_mask(self, side: int) -> da.Array | None:
        """The mask (y, x) that a file carries, lazily, in chunks of `side` px; None: there is none."""

    def sample(self) -> NDArray[Any]:
        """Some pixels (band, y, x), about 65 000; where they lie does not show."""

    def describe(self) -> dict[str, Any]:
        """Facts only this kind of source has, for people."""


def open_source(
    path: str | Path, resolution: int | None = None, s2_offset: str | float = "auto"
) -> Source:
    """Find out what a path is.

    Parameters
    ----------
    path : raster file, also the only one in a ``.zip``, ``.tar``, ``.tgz`` or ``.gz``; or Sentinel-2
        product: ``.SAFE`` folder or ``.zip``, folder of bands, their metadata file, or a granule of
        an old product
    resolution : of a product, 10, 20 or 60 m; None: the finest it holds
    s2_offset : of a product, "auto": as its metadata says; "none"; or in DN, such as -1000

    Raises
    ------
    SceneIOError, SceneError
        If it cannot be read, is a folder without bands, or holds several products or rasters.
    OptionError
        If an option is for products and this is none.
    """
    path = local_path(path)
    products = find_products(path) if "://" not in path else []
    if len(products) > 1:
        inside = "\n".join(f"  {product.path}" for product in products)
        raise SceneError(f"{path} holds {len(products)} tiles. Give one of them:\n{inside}")
    if products:
        return Sentinel2Product(products[0], resolution, s2_offset)
    if os.path.isdir(path):
        if is_zarr(path):
            raise SceneError(f"{path} is a Zarr store; {HOW_WITH_ZARR}")
        raise SceneError(
            f"{path} is a folder without bands of a Sentinel-2 product (B02.jp2 and the like). For "
            f'a folder of scenes: geodecloud.decloud_folder("{path}", "DIR")'
        )
    for option, value, usual in [
        ("resolution", resolution, None),
        ("s2_offset", s2_offset, "auto"),
    ]:
        if value != usual:
            raise OptionError(
                f"{option}={value!r} is for Sentinel-2 products, and {path} is a raster file; for its "
                "DN there are scale=0.0001 and offset=0"
            )
    return RasterFile.at(path)


def open_scene(
    path: str | Path,
    side: int | None = None,
    *,
    resolution: int | None = None,
    s2_offset: str | float = "auto",
) -> xr.DataArray:
    """Open a raster file or a Sentinel-2 product lazily, with its DN as they are.

    Parameters
    ----------
    path, resolution, s2_offset : see `open_source`
    side : of the dask chunks, px; None: by the size of the scene

    Returns
    -------
    DataArray (band, y, x)
        In the file's dtype and rioxarray's conventions: band names in ``attrs["long_name"]``,
        CRS and transform in ``spatial_ref``. Where the file has a mask or alpha band, a lazy
        coordinate ``geodecloud_valid`` (y, x) says True where there is data. A product has
        further coordinates: ``wavelength_nm`` (band), ``time``, and for level 2A its scene
        classification ``scl`` (y, x), lazy too.

    Raises
    ------
    GeodecloudError
        See `open_source`.
    """
    return open_source(path, resolution, s2_offset).open(side)
