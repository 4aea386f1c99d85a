"""GeoTIFF and COG, with every piece of metadata, and never half of one.

`write_rasters` computes several rasters in one pass and publishes them together; how each of
them gets to the disk is `geodecloud.raster.staging`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import TypeVar

import dask.array as da
import numpy as np

from geodecloud.compute.blocks import without_blocks
from geodecloud.compute.engine import engine
from geodecloud.compute.shelf import Shelf
from geodecloud.errors import SceneError, SceneIOError
from geodecloud.options import FileFormat
from geodecloud.raster.finished import Counter
from geodecloud.raster.gdal import check_drivers, gdal_settings
from geodecloud.raster.raw import MaskTarget, RasterTarget
from geodecloud.raster.staging import OutputRaster, Staging
from geodecloud.raster.targets import check_target as check_target  # others ask here, too
from geodecloud.scene.cube import Cube, Scene
from geodecloud.scene.metadata import VALID, Metadata

log = logging.getLogger(__name__)

PathT = TypeVar("PathT", str, Path)

#: GDAL's block cache in bytes. Its default, 5 % of the machine, is a large part of our peak.
CACHE_BYTES = 96 * 2**20
_SUFFIXES = ("", ".tif", ".tiff")


def write_scene(
    scene: Scene,
    path: PathT,
    like: Metadata | None = None,
    format: str | FileFormat | None = None,
    workers: int | None = None,
    *,
    overwrite: bool = False,
) -> PathT:
    """Write a DataArray, or a Dataset of bands, of any size as GeoTIFF or COG.

    Parameters
    ----------
    scene : with the dims y and x, and perhaps bands, in any order; lazy or not
    path : local file, or object of a store such as ``s3://bucket/key.tif``
    like : metadata to write, from `geodecloud.raster.reader.read_metadata` of the source; None takes
        what the DataArray itself carries
    format : "cog", "gtiff", or a `geodecloud.FileFormat` with creation options; None: a COG
    workers : threads; None is one per core. With an active `distributed.Client` the cluster
        computes
    overwrite : replace a file that exists

    Raises
    ------
    SceneIOError
        If the target exists, or cannot be written.
    SceneError
        If the DataArray and `like` do not describe the same raster.
    """
    cube = Cube.of(scene)
    array = cube.array
    if array.ndim > 3:
        raise SceneError(
            f"a GeoTIFF holds one date, and this is a series of {len(array)} along {array.dims[0]!r}; "
            f"write one at a time, with .isel({array.dims[0]}=0)"
        )
    metadata: Metadata = like if like is not None else cube.metadata
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
    valid = cube.coordinate(VALID) if metadata.has_mask else None
    mask = None if valid is None else da.asarray(valid[0].data).astype(bool)
    raster = OutputRaster(path, da.asarray(array.data), metadata, mask=mask)
    write_rasters([raster], FileFormat.of(format), workers=workers, overwrite=overwrite)
    return path


def write_rasters(
    rasters: Sequence[OutputRaster],
    format: FileFormat,
    scheduler: str | None = None,
    workers: int | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
    also: Sequence[tuple[da.Array, Counter]] = (),
    computed: Callable[[], None] | None = None,
    made_from: str | None = None,
    shelf: Shelf | None = None,
) -> None:
    """Compute and write several rasters in one pass over the scene.

    Parameters
    ----------
    rasters : their pixels are computed together and share the work
    scheduler, workers : what computes, see `geodecloud.compute.engine.engine`
    overwrite : replace files that exist
    progress : called with the number of pixels of the first raster just written
    also : further arrays of the same pass, with what counts their numbers
    computed : called when the last block is there, before the files are finished
    made_from : fingerprint of all that the pixels depend on, to go on where a run that was killed stopped; None:
        always from the beginning
    shelf : of what the pixels are made of; its folder is beside those that are finished

    Raises
    ------
    SceneIOError
        If a target exists and may not be overwritten, or cannot be written.
    RasterioError
        If reading the pixels fails. Nothing is left at any target then either.
    """
    check_drivers()
    for raster in rasters:
        if PurePath(raster.path).suffix.lower() not in _SUFFIXES:
            raise SceneIOError(f"{raster.path} is to be a GeoTIFF; end its name in .tif")
        check_target(raster.path, overwrite, _raw_bytes(raster.metadata))
    with ExitStack() as stack:
        computer = stack.enter_context(engine(scheduler, workers))
        stack.enter_context(gdal_settings(GDAL_CACHEMAX=CACHE_BYTES))
        staged = [
            stack.enter_context(Staging(raster, format, overwrite, made_from)) for raster in rasters
        ]
        targets = [stage.open() for stage in staged]
        if shelf is not None and made_from is not None:
            shelf.folder = staged[0].folder.path / "shelf"
        for number, (_, counter) in enumerate(also):
            targets[0].count(counter, f"counts {number}")
        if progress is not None:
            targets[0].progress = progress
        _tell_what_is_there(targets)
        writing: list[tuple[da.Array, RasterTarget | MaskTarget | Counter]] = [
            *((raster.pixels, target) for raster, target in zip(rasters, targets, strict=True)),
            *(
                (raster.mask, MaskTarget(target))
                for raster, target in zip(rasters, targets, strict=True)
                if raster.mask is not None
            ),
            *also,
        ]
        computer.store(
            [without_blocks(array, target.there) for array, target in writing],
            [target for _, target in writing],
        )
        if computed is not None:
            computed()
        for stage in staged:
            stage.finish()
        for stage in reversed(staged):  # the image last: it does not come without its layers
            stage.publish()


def _tell_what_is_there(targets: Sequence[RasterTarget]) -> None:
    """Say what an earlier run has finished, to the log and to whoever follows the progress."""
    there = [
        sum((bottom - top) * (right - left) for *_, (top, bottom), (left, right) in target.there)
        for target in targets
    ]
    height, width = targets[0].dst.shape
    if least := min(there):
        share = least / (height * width)
        log.info(
            "%s: continues a run that was killed: %.0f %% is there", targets[0].path, 100 * share
        )
        targets[0].progress(there[0])


def _raw_bytes(metadata: Metadata) -> int:
    height, width = metadata.grid.shape_yx
    return height * width * metadata.count * np.dtype(metadata.dtypes[0]).itemsize
