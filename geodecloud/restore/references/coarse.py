"""What the fit leaves over a whole scene, in coarse blocks: the context no window can see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.pyramid import (
    carry_levels,
    interpolate_blocks,
)
from geodecloud.restore.references.sample import Array, Sample
from geodecloud.windows.tiler import Window

#: Side of a block; the pyramid of a window ends one level below.
BLOCK_PX = 32


@dataclass(frozen=True)
class CoarseField:
    """A smooth field over the whole scene, defined everywhere, known at the middles of its blocks.

    Attributes
    ----------
    values : (C, rows, cols) float32
    origin : column and row of the scene's corner
    """

    values: Array
    origin: tuple[int, int]

    @classmethod
    def zeros(cls, channels: int, extent: Window) -> CoarseField:
        """Nothing is left over anywhere."""
        shape = tuple(-(-length // BLOCK_PX) for length in extent.shape_yx)
        return cls(np.zeros((channels, *shape), np.float32), (extent.col_off, extent.row_off))

    def over(self, window: Window, block_px: int) -> Array:
        """Values (C, rows, cols) at the middles of blocks of a window that starts on a block.

        Parameters
        ----------
        window : absolute pixels, counted in blocks of `block_px` from the scene's corner
        block_px : side of the smaller blocks, a divisor of `BLOCK_PX`
        """
        left, top = window.col_off - self.origin[0], window.row_off - self.origin[1]
        ys = (np.arange(top, top + window.height, block_px) + block_px / 2) / BLOCK_PX - 0.5
        xs = (np.arange(left, left + window.width, block_px) + block_px / 2) / BLOCK_PX - 0.5
        return interpolate_blocks(self.values, ys, xs)


def gather_field(sample: Sample, residual: NDArray[np.float32], extent: Window) -> CoarseField:
    """Block means of what is left at the sample's pixels, carried to where nothing was seen."""
    rows, cols = (-(-length // BLOCK_PX) for length in extent.shape_yx)
    y, x = (sample.row - extent.row_off) // BLOCK_PX, (sample.col - extent.col_off) // BLOCK_PX
    block = y.astype(np.int64) * cols + x
    count = np.bincount(block, minlength=rows * cols).astype(np.float32)
    sums = [np.bincount(block, part, rows * cols).astype(np.float32) for part in residual.T]
    full = max(count.max(), 1)
    weight = (count / full).reshape(rows, cols)
    values = (np.stack(sums) / full).reshape(-1, rows, cols)
    return CoarseField(carry_levels(values, weight, None), (extent.col_off, extent.row_off))
