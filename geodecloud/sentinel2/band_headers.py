"""What the band files of a Sentinel-2 product say of themselves, and whether they belong together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geodecloud.errors import SceneError, SceneIOError
from geodecloud.raster.reader import open_raster
from geodecloud.scene.grid import Grid
from geodecloud.sentinel2.files import BandFile


@dataclass(frozen=True)
class BandHeader:
    """What one band file says of itself."""

    grid: Grid
    dtype: str
    scale: float
    offset: float


def read_header(file: BandFile) -> BandHeader:
    """What one band file says; its pixels are not read.

    Raises
    ------
    SceneIOError, SceneError
        If it is empty, cannot be opened, or holds several bands.
    """
    if os.path.exists(file.path) and os.path.getsize(file.path) == 0:
        raise SceneIOError(f"{file.path} is empty (0 bytes); download the product again")
    with open_raster(file.path) as src:
        if src.count != 1:
            raise SceneError(f"{file.path} holds {src.count} bands where one is expected")
        return BandHeader(Grid.of(src), src.dtypes[0], src.scales[0], src.offsets[0])


def check_together(path: str, files: Sequence[BandFile], headers: dict[str, BandHeader]) -> None:
    """Refuse files of different places or kinds, and of one pixel size with different pixels.

    Raises
    ------
    SceneError
        If they are no bands of one product.
    """
    first, usual = headers[files[0].name].grid, headers[files[0].name].dtype
    slack = 0.01 * max(first.res_xy)
    for file in files:
        grid, dtype = headers[file.name].grid, headers[file.name].dtype
        if dtype not in (("uint8",) if file.band == "SCL" else ("uint16", "int16")):
            raise SceneError(
                f"{file.path} holds {dtype}, which band {file.band} of a product is not"
            )
        if dtype != usual and file.band != "SCL":
            raise SceneError(f"{path} mixes bands of {dtype} and {usual}")
        if grid.crs != first.crs or np.abs(np.subtract(grid.bounds, first.bounds)).max() > slack:
            raise SceneError(
                f"{path} holds bands of different places: {files[0].name} covers {first}, and "
                f"{file.name} {grid}"
            )
        twin = next(f for f in files if f.resolution_m == file.resolution_m)
        if headers[twin.name].grid.shape_yx != grid.shape_yx:
            raise SceneError(
                f"{path} holds bands of different sizes at {file.resolution_m} m: {twin.name} is "
                f"{headers[twin.name].grid}, and {file.name} {grid}"
            )
