"""Coefficients of a scene, and the ground they make of other dates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.coarse import CoarseField
from geodecloud.restore.references.moments import CellGrid
from geodecloud.restore.references.packing import unpack
from geodecloud.restore.references.pyramid import interpolate_blocks
from geodecloud.restore.references.sample import Array, Bool, dates_of
from geodecloud.windows.tiler import Window

#: Side of the parts of a window that are made at once: what belongs to one stays in the processor's cache.
_PART_PX = 128


@dataclass(frozen=True)
class Prediction:
    """A scene as its other dates have it.

    Attributes
    ----------
    ground : (C, H, W) float32, reflectance
    error : (C, H, W) float32, root mean square error of the fit on left-out ground, reflectance
    date : (H, W) int8, number of the reference that weighs most; -1 where none is usable
    """

    ground: Array
    error: Array
    date: NDArray[np.int8]


@dataclass(frozen=True)
class Coefficients:
    """Solved once per scene, small, the same for every window.

    Attributes
    ----------
    beta : (S, cells, C, 1 + R * B) float32, for each combination of dates that could be solved
    error : (S, C) float32, root mean square error on blocks of clear ground left out
    unevenness : (cells,) float32, factor on the error, for ground that is harder here than elsewhere
    heaviest : (S, cells) int8, number of the date that weighs most, or -1
    dates : the combinations: bit r is set where date r is in it
    subset : (2 ** R,) int16, the best combination for whatever dates a pixel has
    shape : (R, B)
    cells : see `geodecloud.restore.references.moments.CellGrid`
    extent : the whole scene
    field : what the fit leaves over, in coarse blocks
    """

    beta: Array
    error: Array
    unevenness: Array
    heaviest: NDArray[np.int8]
    dates: tuple[int, ...]
    subset: NDArray[np.int16]
    shape: tuple[int, int]
    cells: CellGrid
    extent: Window
    field: CoarseField

    @classmethod
    def empty(cls, channels: int, count: int, bands: int, extent: Window) -> Coefficients:
        """Nothing was seen of the scene: its prediction is 0, its error infinite."""
        return cls(
            np.zeros((1, 1, channels, 1 + count * bands), np.float32),
            np.full((1, channels), np.inf, np.float32),
            np.ones(1, np.float32),
            np.full((1, 1), -1, np.int8),
            (0,),
            np.zeros(1 << count, np.int16),
            (count, bands),
            CellGrid((1, 1), max(extent.shape_yx)),
            extent,
            CoarseField.zeros(channels, extent),
        )

    @property
    def is_empty(self) -> bool:
        """Whether no pixel of the scene was clear."""
        return bool(np.isinf(self.error).any())

    def with_field(self, field: CoarseField) -> Coefficients:
        """The same with another field of residuals."""
        return dataclasses.replace(self, field=field)

    def at(
        self,
        row: NDArray[np.int32],
        col: NDArray[np.int32],
        values: Array,
        dates: NDArray[np.int32],
    ) -> Array:
        """Ground (n, C) at single pixels of the scene, with values (n, R, B) of the dates they have."""
        (y, down), (x, right) = self._between(row, 0), self._between(col, 1)
        flat = np.ascontiguousarray(values.reshape(len(row), -1).T)
        out = np.zeros((len(row), self.beta.shape[2]), np.float32)
        key = (y * self.cells.shape_yx[1] + x) * len(self.dates) + self.subset[dates]
        order = np.argsort(key, kind="stable")
        found, starts = np.unique(key[order], return_index=True)
        for one, some in zip(found, np.split(order, starts[1:]), strict=True):
            cell, number = divmod(int(one), len(self.dates))
            out[some] = self._ground(flat[:, some], number, cell, down[some], right[some]).T
        return out

    def predict(
        self, references: Sequence[Array | NDArray[np.int16]], usable: Bool, window: Window
    ) -> Prediction:
        """Make the ground of a window, see `make_ground`, and say how far off it may be."""
        return self.judge(*self.make_ground(references, usable, window), window)

    def judge(self, ground: Array, subset: NDArray[np.int16], window: Window) -> Prediction:
        """Ground that was made of a window, with its error and its date."""
        return Prediction(ground, self._error(subset, window), self._date(subset, window))

    def make_ground(
        self, references: Sequence[Array | NDArray[np.int16]], usable: Bool, window: Window
    ) -> tuple[Array, NDArray[np.int16]]:
        """Make the ground of a window.

        Parameters
        ----------
        references : of each date (B, H, W) float32, reflectance; or packed, int16, which stays small
        usable : (R, H, W) bool
        window : absolute pixels of the scene

        Returns
        -------
        ground : (C, H, W) float32, reflectance
        subset : (H, W) int16, number of the combination of dates that made it
        """
        if len(references) and references[0].dtype.kind == "f":
            usable = usable & np.isfinite(references).all(axis=1)
        subset = self.subset[dates_of(usable)]
        ground = np.empty((self.beta.shape[2], *window.shape_yx), np.float32)
        for rows, y, down in self._parts(window, 0):
            for cols, x, right in self._parts(window, 1):
                own, cell = subset[rows, cols].ravel(), y * self.cells.shape_yx[1] + x
                none = np.empty((0, len(down), len(right)), np.int16)
                there = np.concatenate([none, *(date[:, rows, cols] for date in references)])
                values = unpack(there.reshape(-1, own.size))
                shares = np.repeat(down, len(right)), np.tile(right, len(down))
                made = np.empty((len(ground), own.size), np.float32)
                for number in np.unique(own):
                    some = np.flatnonzero(own == number)
                    if len(some) == own.size:
                        made = self._ground(values, int(number), cell, *shares)
                    else:
                        these = values.take(some, axis=1), *(share[some] for share in shares)
                        made[:, some] = self._ground(these[0], int(number), cell, *these[1:])
                ground[:, rows, cols] = made.reshape(-1, len(down), len(right))
        return ground, subset

    def _parts(self, window: Window, axis: int) -> Iterator[tuple[slice, int, Array]]:
        """Short parts of an axis between the middles of the same two cells, the first, and how far on, 0-1."""
        start, length = ((window.row_off, window.height), (window.col_off, window.width))[axis]
        cell, share = self._between(np.arange(start, start + length), axis)
        turns = np.flatnonzero(np.diff(cell)) + 1
        stops = np.union1d(turns, np.arange(_PART_PX, length, _PART_PX)).tolist()
        for begin, end in pairwise([0, *stops, length]):
            yield slice(begin, end), int(cell[begin]), share[begin:end]

    def _ground(self, values: Array, number: int, cell: int, down: Array, right: Array) -> Array:
        """Ground (C, n) by one combination between a cell and the next ones, of values (R * B, n).

        Parameters
        ----------
        down, right : (n,) float32, how far on from the middle of the cell to the next, 0-1
        """
        count, bands = self.shape
        rows, cols = (min(length, 2) for length in self.cells.shape_yx)
        corners = cell + self.cells.shape_yx[1] * np.arange(rows)[:, None] + np.arange(cols)
        dates = [r for r in range(count) if self.dates[number] >> r & 1]
        used = np.array([r * bands + b for r in dates for b in range(bands)], int)
        read = values[used]  # a copy, in one order: einsum adds as the numbers lie in memory
        beta = self.beta[number, corners].reshape(-1, 1 + count * bands)
        n = values.shape[1]
        if n == 1:  # einsum would add its terms in another order
            read = np.repeat(read, 2, axis=1)
        # not a matrix product, whose order of terms depends on how many pixels there are
        made = np.einsum("ck,kn->cn", beta[:, 1 + used], read)[:, :n] + beta[:, :1]
        made = made.reshape(rows, cols, -1, n)
        made = made[0] if rows == 1 else made[0] + down * (made[1] - made[0])
        return made[0] if cols == 1 else made[0] + right * (made[1] - made[0])

    def _between(self, at: NDArray[np.integer[Any]], axis: int) -> tuple[NDArray[np.int64], Array]:
        """The cell whose middle comes before a row (axis 0) or column (1), and how far on it is, 0-1."""
        side, count = self.cells.side_px, self.cells.shape_yx[axis]
        origin = self.extent.row_off if axis == 0 else self.extent.col_off
        place = (at - origin - side // 2).astype(np.int64)
        first = np.clip(place // side, 0, max(count - 2, 0))
        share = np.clip((place - first * side) / side, 0, 1 if count > 1 else 0)
        return first, share.astype(np.float32)

    def _error(self, subset: NDArray[np.int16], window: Window) -> Array:
        """(C, H, W): of the combination, times how hard the ground is around."""
        out = np.empty((self.error.shape[1], *window.shape_yx), np.float32)
        for band, values in zip(self.error.T, out, strict=True):
            np.take(band, subset, out=values)
        rows, cols = self.cells.shape_yx
        if rows * cols > 1:
            side = self.cells.side_px
            top, left = window.row_off - self.extent.row_off, window.col_off - self.extent.col_off
            ys = (np.arange(top, top + window.height) - side // 2) / side
            xs = (np.arange(left, left + window.width) - side // 2) / side
            out *= interpolate_blocks(self.unevenness.reshape(1, rows, cols), ys, xs)
        return out

    def _date(self, subset: NDArray[np.int16], window: Window) -> NDArray[np.int8]:
        if self.cells.shape_yx == (1, 1):
            return self.heaviest[:, 0][subset]
        rows = np.arange(window.row_off, window.row_off + window.height) - self.extent.row_off
        cols = np.arange(window.col_off, window.col_off + window.width) - self.extent.col_off
        return self.heaviest[subset, self.cells.index(rows[:, None], cols)]
