"""The raw raster of a run: an uncompressed GeoTIFF with all metadata, which takes pixels block by block.

Of a run that may be gone on with after a kill, each tile has its place in the file from the beginning. Blocks are
then written into a file that is whole at any moment: its directory never changes again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from geodecloud.compute.blocks import Extent
from geodecloud.errors import SceneIOError
from geodecloud.raster.finished import PIXELS, Counter, Finished, extent_of, sum_of
from geodecloud.raster.gdal import GDAL_ERRORS, gdal_settings
from geodecloud.scene.metadata import Metadata

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

log = logging.getLogger(__name__)

#: The longest that a kill may set a long run back, s, besides the blocks that are being computed.
SAVE_S = 20.0
_RAW = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512}


def create_raw(path: Path, metadata: Metadata, in_place: bool = False) -> DatasetWriter:
    """Make a raw raster.

    Parameters
    ----------
    in_place : give each tile its place at once. The file is as long as it will be, and takes no room yet
    """
    profile = metadata.profile()
    if not in_place:
        dst = rasterio.open(path, "w", **_RAW, **profile)
        metadata.write_to(dst)
        return dst
    # GDAL leaves out, but for their places, tiles of zeros only: it would write those of another nodata value
    with rasterio.open(path, "w", **_RAW, **profile | {"nodata": None}) as dst:
        metadata.write_to(dst)
    if metadata.nodata is not None:
        with rasterio.open(path, "r+") as dst:
            dst.nodata = metadata.nodata
    return rasterio.open(path, "r+")


def open_raw(path: Path, metadata: Metadata) -> DatasetWriter | None:
    """Open a raw raster that another run has made; None: it is not what it was."""
    try:
        dst = rasterio.open(path, "r+")
    except (*GDAL_ERRORS, TypeError) as error:  # rasterio's word for a file of no known format
        log.debug("%s cannot be gone on with: %s", path, error)
        return None
    about = dst.shape, dst.count, dst.dtypes[0]
    if about == (metadata.grid.shape_yx, metadata.count, metadata.dtypes[0]):
        return dst
    dst.close()
    return None


class RasterTarget:
    """Takes blocks of (band, y, x) or (y, x) by index and writes them as windows.

    Parameters
    ----------
    path : what errors are about
    finished : what is finished, of a run that may be gone on with

    Attributes
    ----------
    written, mask : blocks of pixels, and of the file's own mask, by their extent: the sum of each
    """

    def __init__(
        self, dst: DatasetWriter, path: str | Path, finished: Finished | None = None
    ) -> None:
        self.dst, self.path, self.finished = dst, path, finished
        self.written: dict[Extent, int] = {}
        self.mask: dict[Extent, int] = {}
        self.progress: Callable[[int], None] = lambda pixels: None
        self._saved = time.monotonic()

    def __setitem__(self, key: tuple[slice, ...], block: NDArray[Any]) -> None:
        window = _window(key, block)
        with writing(self.path):
            if block.ndim == 2:
                self.dst.write(block, 1, window=window)
            else:
                first = (key[0].start or 0) + 1
                self.dst.write(block, list(range(first, first + len(block))), window=window)
        extent, total = extent_of(key, block), sum_of(block)
        self.written[extent] = total
        self.note(PIXELS, extent, total)
        self.progress(window.width * window.height)

    @property
    def there(self) -> Collection[Extent]:
        """Blocks that an earlier run has written."""
        return () if self.finished is None else self.finished.blocks[PIXELS].keys()

    def count(self, counter: Counter, kind: str) -> None:
        """Keep the counts of a further array with what is finished of this one."""
        if self.finished is not None:
            counter.go_on(self.finished.blocks[kind], partial(self.note, kind))

    def note(self, kind: str, extent: Extent, value: Any) -> None:
        """Remember what is finished; once in `SAVE_S` it is written down."""
        if self.finished is None:
            return
        self.finished.pending.append((kind, extent, value))
        if time.monotonic() - self._saved >= SAVE_S:
            with writing(self.path):
                self.save(self.finished)

    def save(self, finished: Finished) -> None:
        """Have GDAL write what it keeps, look whether it is there, and write down what is finished."""
        raw = Path(self.dst.name)
        self.dst.close()  # rasterio has no other way
        self.dst = rasterio.open(raw, "r+")
        written = {extent: total for kind, extent, total in finished.pending if kind == PIXELS}
        if any(_is_lost(self.dst, extent, total) for extent, total in written.items()):
            # GDAL tells it to its log only
            raise SceneIOError(
                f"{self.path} cannot be written: pixels did not come to the disk, it may be full"
            )
        finished.save()
        self._saved = time.monotonic()

    def drop_lost(self) -> None:
        """Forget blocks that are said to be finished and are not: the host may have gone down."""
        if self.finished is not None:
            blocks = self.finished.blocks[PIXELS]
            for extent in [e for e, total in blocks.items() if _is_lost(self.dst, e, total)]:
                del blocks[extent]

    def find_lost(self, raw: DatasetReader) -> str | None:
        """Which block of the raw raster, once it is closed, is not what was written; None: all are.

        GDAL writes the last of what it keeps on closing, and tells to its log only where that fails.
        """
        there = {} if self.finished is None else self.finished.blocks[PIXELS]
        for extent, total in (there | self.written).items():
            if _is_lost(raw, extent, total):
                return f"pixels of rows {extent[-2][0]} to {extent[-2][1]} did not come to the disk"
        for extent, total in self.mask.items():
            if _sum_of_mask(raw, extent) != total:
                return (
                    f"the mask of rows {extent[-2][0]} to {extent[-2][1]} did not come to the disk"
                )
        return None


def _is_lost(src: DatasetReader, extent: Extent, total: int) -> bool:
    """Whether a block in the file is another one than was written."""
    bands = list(range(extent[0][0] + 1, extent[0][1] + 1)) if len(extent) == 3 else 1
    try:
        return sum_of(src.read(bands, window=_window_of(extent))) != total
    except (*GDAL_ERRORS, IndexError, ValueError):
        return True


def _sum_of_mask(src: DatasetReader, extent: Extent) -> int | None:
    try:
        return sum_of(src.dataset_mask(window=_window_of(extent)) > 0)
    except GDAL_ERRORS:
        return None


class MaskTarget:
    """Takes bool blocks (y, x) and writes them as the own mask of a target's dataset.

    After a kill it is written anew: it costs little, and it is compressed, so that its blocks have no fixed places.
    """

    there: Collection[Extent] = ()

    def __init__(self, raster: RasterTarget) -> None:
        self.raster = raster

    def __setitem__(self, key: tuple[slice, ...], block: NDArray[Any]) -> None:
        with writing(self.raster.path):
            self.raster.dst.write_mask(block, window=_window(key, block))
        self.raster.mask[extent_of(key, block)] = sum_of(block.astype(bool))


def _window_of(extent: Extent) -> Window:
    (top, bottom), (left, right) = extent[-2:]
    return Window(left, top, right - left, bottom - top)


def _window(key: tuple[slice, ...], block: NDArray[Any]) -> Window:
    rows, cols = key[-2:]
    height, width = block.shape[-2:]
    return Window(cols.start or 0, rows.start or 0, width, height)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """GDAL as we want it; errors within are about this raster, under the name its user gave."""
    try:
        with (
            gdal_settings()
        ):  # those of the thread that computes are not those of the one that writes
            yield
    except SceneIOError:
        raise
    except FileExistsError as error:
        raise SceneIOError(
            f"{path} was written by another run meanwhile, and is kept; give overwrite=True to replace it"
        ) from error
    except (*GDAL_ERRORS, OSError) as error:
        detail = error.__cause__ or error  # rasterio's own words may be "See previous exception"
        raise SceneIOError(f"{path} cannot be written: {detail}") from error
