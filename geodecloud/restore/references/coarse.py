"""What the fit leaves over a whole scene, in coarse blocks: the context no window can see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.pyramid import Carried, carry
from geodecloud.restore.references.sample import Sample
from geodecloud.windows.tiler import Window

#: Side of a block; the pyramid of a window ends one level below.
BLOCK_PX = 32
#: Squared error of a fill over that of the fit on left-out ground, where blocks of 1, 2, 4, 8, 16 px,
#: and wider ones, are known: with other dates, and without any. Below 1 what is around helps; above 1
#: the hole is further from clear ground than the left-out blocks were. Measured on the series.
OPEN_SHARES = np.array(
    [[0.5, 0.25], [0.9, 0.6], [1.1, 0.8], [1.3, 0.9], [1.5, 1.1], [2.2, 1.3]], np.float32
)


@dataclass(frozen=True)
class CoarseField:
    """A smooth field over the whole scene, defined everywhere, known at the middles of its blocks.

    Attributes
    ----------
    carried : (C, rows, cols) what is left, and (K, rows, cols) how much of its variance is open
    origin : column and row of the scene's corner
    """

    carried: Carried
    origin: tuple[int, int]

    @classmethod
    def zeros(cls, channels: int, extent: Window) -> CoarseField:
        """Nothing is left over anywhere."""
        shape = tuple(-(-length // BLOCK_PX) for length in extent.shape_yx)
        share = np.broadcast_to(OPEN_SHARES[-1][:, None, None], (2, *shape))
        nothing = Carried(np.zeros((channels, *shape), np.float32), share.copy())
        return cls(nothing, (extent.col_off, extent.row_off))

    def over(self, window: Window) -> Carried:
        """The blocks of a window that starts and ends on a block; beyond the scene, those at its edge."""
        left, top = window.col_off - self.origin[0], window.row_off - self.origin[1]
        rows, cols = self.carried.values.shape[1:]
        y = np.arange(top // BLOCK_PX, (top + window.height) // BLOCK_PX).clip(0, rows - 1)
        x = np.arange(left // BLOCK_PX, (left + window.width) // BLOCK_PX).clip(0, cols - 1)
        values, share = self.carried.values, self.carried.open_share
        return Carried(values[:, y[:, None], x], share[:, y[:, None], x])


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
    levels = max(1, (max(rows, cols) - 1).bit_length() + 1)
    shares = np.tile(OPEN_SHARES[-1], (levels, 1))
    return CoarseField(carry(values, weight, shares), (extent.col_off, extent.row_off))
