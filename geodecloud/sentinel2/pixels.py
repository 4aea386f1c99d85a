"""The pixels of a Sentinel-2 product, read window by window where dask asks for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from geodecloud.raster.lazy import LazyWindows
from geodecloud.raster.reader import open_dataset, reading
from geodecloud.scene.grid import Grid
from geodecloud.scene.metadata import Metadata
from geodecloud.sentinel2.files import BandFile
from geodecloud.sentinel2.resampling import plan_nearest, plan_taps, resample

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

#: In all bands of all products; JPEG 2000 files do not say so themselves.
NODATA = 0


class _Files:
    """Open files of this thread: GDAL datasets must not be shared, and opening JP2 is slow."""

    def __init__(self) -> None:
        self._mine = threading.local()

    def open(self, path: str) -> DatasetReader:
        """The dataset of a path for the calling thread; closed when the thread ends."""
        mine = self._mine.__dict__.setdefault("files", {})
        if path not in mine:
            mine[path] = open_dataset(path)
        return mine[path]

    def __reduce__(self) -> tuple[type[_Files], tuple[()]]:
        return _Files, ()


class _ProductWindows(LazyWindows):
    """Windows of files of a product; picklable, so that a cluster can read them too."""

    def __init__(self, files: Sequence[BandFile], grid: Grid) -> None:
        self.grid, self._files = grid, _Files()
        self._stamp = [(f.path, _modified(f.path)) for f in files]

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return type(self).__name__, self._stamp, self.grid.shape_yx

    def _window(self, file: BandFile, rows: tuple[int, int], cols: tuple[int, int]) -> NDArray[Any]:
        window = rasterio.windows.Window.from_slices(rows, cols)
        with reading(file.path):
            return self._files.open(file.path).read(1, window=window)  # type: ignore[no-any-return,unused-ignore]


class BandPixels(_ProductWindows):
    """The bands (band, y, x) on the scene's grid."""

    def __init__(
        self,
        bands: Sequence[BandFile],
        shapes: dict[str, tuple[int, int]],
        metadata: Metadata,
    ) -> None:
        super().__init__(bands, metadata.grid)
        self.bands, self.shapes = list(bands), [shapes[band.name] for band in bands]
        self.shape = (len(bands), *metadata.grid.shape_yx)
        self.dtype = np.dtype(metadata.dtypes[0])

    def read(self, rows: tuple[int, int], cols: tuple[int, int], *lead: Any) -> NDArray[Any]:
        """Bands of one window, resampled where their file has another pixel size."""
        out = np.empty((len(lead[0]), rows[1] - rows[0], cols[1] - cols[0]), self.dtype)
        for index, band in zip(lead[0], out, strict=True):
            file, (height, width) = self.bands[index], self.shapes[index]
            if (height, width) == self.shape[1:]:
                band[:] = self._window(file, rows, cols)
                continue
            down = plan_taps(*rows, self.shape[1], height)
            across = plan_taps(*cols, self.shape[2], width)
            source = self._window(file, down.span, across.span)
            band[:] = resample(source, down, across, NODATA)
        return out


class ClassPixels(_ProductWindows):
    """The scene classification (y, x) on the scene's grid, by nearest."""

    dtype = np.dtype(np.uint8)

    def __init__(self, file: BandFile, source_shape: tuple[int, int], grid: Grid) -> None:
        super().__init__([file], grid)
        self.file, self.source_shape, self.shape = file, source_shape, grid.shape_yx

    def read(self, rows: tuple[int, int], cols: tuple[int, int], *lead: Any) -> NDArray[Any]:
        """Classes of one window."""
        down = plan_nearest(*rows, self.shape[0], self.source_shape[0])
        across = plan_nearest(*cols, self.shape[1], self.source_shape[1])
        spans = [(int(p[0]), int(p[-1]) + 1) for p in (down, across)]
        source = self._window(self.file, *spans)
        return source[down[:, None] - down[0], across - across[0]]


def _modified(path: str) -> int:
    """Time of the last change; of the archive for a file within one."""
    real = path.removeprefix("/vsizip/{").split("}/")[0]
    return Path(real).stat().st_mtime_ns if os.path.exists(real) else 0
