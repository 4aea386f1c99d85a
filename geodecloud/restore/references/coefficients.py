"""Coefficients of a scene, and the ground they make of other dates."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.coarse import CoarseField
from geodecloud.restore.references.moments import CellGrid
from geodecloud.restore.references.pyramid import interpolate_blocks
from geodecloud.restore.references.sample import Array, Bool, dates_of
from geodecloud.windows.tiler import Window

#: Rows that share their coefficients, counted from the scene's corner; a block of so many rows stays in
#: the processor's cache.
_BAND_PX = 8


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
        cols = self.cells.shape_yx[1]
        flat = np.concatenate(
            [np.ones((len(row), 1), np.float32), values.reshape(len(row), -1)], axis=1
        )
        out = np.zeros((len(row), self.beta.shape[2]), np.float32)
        key = (y * cols + x) * len(self.dates) + self.subset[dates]
        order = np.argsort(key, kind="stable")
        found, starts = np.unique(key[order], return_index=True)
        for one, some in zip(found, np.split(order, starts[1:]), strict=True):
            cell, number = divmod(int(one), len(self.dates))
            for step_y, share_y in ((0, 1 - down[some]), (1, down[some])):
                for step_x, share_x in ((0, 1 - right[some]), (1, right[some])):
                    share = (share_y * share_x)[:, None]
                    if share.any():
                        beta = self.beta[number, cell + step_y * cols + step_x]
                        out[some] += share * (flat[some] @ beta.T)
        return out

    def predict(self, references: Array, usable: Bool, window: Window) -> Prediction:
        """Make the ground of a window.

        Parameters
        ----------
        references : (R, B, H, W) float32, reflectance
        usable : (R, H, W) bool
        window : absolute pixels of the scene
        """
        seen = usable & np.isfinite(references).all(axis=1)
        subset = self.subset[dates_of(seen)]
        flat = references.reshape(-1, *window.shape_yx)
        ground = np.empty((self.beta.shape[2], *window.shape_yx), np.float32)
        top = window.row_off - self.extent.row_off
        stops = [*range(_BAND_PX - top % _BAND_PX, window.height, _BAND_PX), window.height]
        for start, stop in pairwise([0, *stops]):
            rows = slice(start, stop)
            middle = window.row_off + start - (top + start) % _BAND_PX + _BAND_PX // 2
            for number in np.unique(subset[rows]):
                here = subset[rows] == number
                beta = self._betas(int(number), middle, window)
                self._add_terms(ground[:, rows], flat[:, rows], int(number), beta, here)
        return Prediction(ground, self._error(subset, window), self._date(subset, window))

    def _add_terms(self, ground: Array, flat: Array, number: int, beta: Array, here: Bool) -> None:
        """Write ground (C, h, W) where `here`, term by term in one order, with beta (C, K, W or 1)."""
        count, bands = self.shape
        used = [
            r * bands + b for r in range(count) if self.dates[number] >> r & 1 for b in range(bands)
        ]
        whole = bool(here.all())
        term, scratch = np.empty_like(ground[0]), np.empty_like(ground[0])
        with np.errstate(invalid="ignore", over="ignore"):  # what is not `here` may be anything
            for channel, out in zip(beta, ground, strict=True):
                line = out if whole else scratch
                line[:] = channel[0]
                for k in used:
                    np.multiply(flat[k], channel[1 + k], out=term)
                    np.add(line, term, out=line)
                if not whole:
                    np.copyto(out, line, where=here)

    def _betas(self, number: int, row: int, window: Window) -> Array:
        """Coefficients (C, K, W) along a band of rows, or (C, K, 1) where there is one cell."""
        rows, cols = self.cells.shape_yx
        grid = self.beta[number].reshape(rows, cols, *self.beta.shape[2:])
        y, down = self._between(np.array([row]), 0)
        line = grid[y[0]]
        if rows > 1:
            line = line + down[0] * (grid[y[0] + 1] - line)
        line = np.moveaxis(line, 0, -1)
        if cols == 1:
            return line
        x, right = self._between(np.arange(window.col_off, window.col_off + window.width), 1)
        left = line.take(x, axis=2)
        return np.asarray(left + right * (line.take(x + 1, axis=2) - left), np.float32)

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
