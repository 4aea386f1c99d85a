"""Sums and products of a sample, from which any combination of dates is solved.

A pixel counts in the group of exactly those dates it has. Moments of a combination are the sum over
all groups that have at least its dates: every pixel that can speak for a combination does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.sample import Sample, dates_of
from geodecloud.windows.tiler import Window

Float = NDArray[np.float64]

#: Parts that are left out in turn, and the side of the blocks of ground they are made of, in px.
FOLDS = 4
FOLD_PX = 24
#: Wished side of a cell.
CELL_PX = 500
#: Cells are made larger rather than that their moments take more than this.
_MOST_BYTES = 200e6


@dataclass(frozen=True)
class CellGrid:
    """Square cells from the scene's corner on; the last of a row or column takes what is over.

    Attributes
    ----------
    shape_yx : number of cells
    side_px : of a cell
    """

    shape_yx: tuple[int, int]
    side_px: int

    def index(
        self, row: NDArray[np.integer[Any]], col: NDArray[np.integer[Any]]
    ) -> NDArray[np.int64]:
        """Flat index of the cell that holds a pixel, counted from the scene's corner."""
        rows, cols = self.shape_yx
        y = np.minimum(row // self.side_px, rows - 1).astype(np.int64)
        return y * cols + np.minimum(col // self.side_px, cols - 1)


def plan_cells(shape_yx: tuple[int, int], features: int, groups: int, side_px: int) -> CellGrid:
    """Cells of about `side_px`, larger if their moments took too much memory."""
    most = max(1, int(_MOST_BYTES / (8 * FOLDS * groups * features**2)))
    while True:
        rows, cols = (max(1, round(length / side_px)) for length in shape_yx)
        if rows * cols <= most:
            return CellGrid((rows, cols), side_px)
        side_px = side_px * 5 // 4 + 1


@dataclass(frozen=True)
class Moments:
    """Products of ``[1, all bands of all dates, bands of the scene]``, centred on `centre`.

    Attributes
    ----------
    products : (G, cells, FOLDS, D, D) float64, by group of dates, cell and fold
    groups : (G,) the dates of each group, see `dates_of`
    centre : (D,) float64, taken off before; ``centre[0] == 0``
    """

    products: Float
    groups: NDArray[np.int32]
    centre: Float

    def of_dates(self, dates: int) -> Float:
        """(cells, FOLDS, D, D), over all pixels that have at least these dates."""
        return np.asarray(self.products[(self.groups & dates) == dates].sum(axis=0))


def group_sample(sample: Sample) -> NDArray[np.int32]:
    """Dates of each pixel of the sample."""
    return dates_of(sample.usable.T)


def gather(sample: Sample, dates: NDArray[np.int32], cells: CellGrid, extent: Window) -> Moments:
    """Moments of a sample that is in order."""
    row, col = sample.row - extent.row_off, sample.col - extent.col_off
    fold = (row // FOLD_PX + 2 * (col // FOLD_PX)) % FOLDS
    cell = cells.index(row, col)
    count = cells.shape_yx[0] * cells.shape_yx[1]
    groups = np.unique(dates)
    key = (np.searchsorted(groups, dates) * count + cell) * FOLDS + fold
    order = np.argsort(key, kind="stable")
    found, starts = np.unique(key[order], return_index=True)
    values = _values(sample)
    centre = _centre(sample)
    size = values.shape[1]
    products = np.zeros((len(groups) * count * FOLDS, size, size))
    missing = ~np.repeat(sample.usable, sample.references.shape[2], axis=1)
    bands = slice(1, 1 + missing.shape[1])
    for index, some in zip(found, np.split(order, starts[1:]), strict=True):
        part = values[some] - centre
        part[:, bands][missing[some]] = 0
        products[index] = part.T @ part
    return Moments(products.reshape(len(groups), count, FOLDS, size, size), groups, centre)


def _values(sample: Sample) -> NDArray[np.float32]:
    ones = np.ones((len(sample), 1), np.float32)
    flat = sample.references.reshape(len(sample), -1)
    return np.concatenate([ones, flat, sample.scene], axis=1)


def _centre(sample: Sample) -> Float:
    """Mean of each band over the pixels that have it."""
    bands = sample.references.shape[2]
    seen = np.repeat(sample.usable, bands, axis=1)
    flat = sample.references.reshape(len(sample), -1)
    count = np.maximum(seen.sum(axis=0), 1)
    means = np.where(seen, flat, 0).sum(axis=0, dtype=np.float64) / count
    scene = sample.scene.sum(axis=0, dtype=np.float64) / max(len(sample), 1)
    return np.concatenate([[0.0], means, scene])


def smooth_cells(products: Float, cells: CellGrid) -> Float:
    """Each cell with half of its neighbours' pixels, and a quarter of those across the corner."""
    grid = products.reshape(*cells.shape_yx, *products.shape[1:])
    for axis in (0, 1):
        moved = np.moveaxis(grid, axis, 0)
        wider = moved.copy()
        wider[1:] += 0.5 * moved[:-1]
        wider[:-1] += 0.5 * moved[1:]
        grid = np.moveaxis(wider, 0, axis)
    return np.ascontiguousarray(grid).reshape(products.shape)
