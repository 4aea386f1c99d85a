"""Coefficients of a scene, and the ground they make of other dates."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.coarse import CoarseField
from geodecloud.restore.references.moments import CellGrid
from geodecloud.restore.references.pyramid import interpolate_blocks
from geodecloud.restore.references.sample import Array, Bool, dates_of
from geodecloud.windows.tiler import Window

#: Pixels worked on at a time: they stay in the processor's cache.
_BLOCK = 8192


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
    error : (S, cells, C) float32, root mean square error on blocks of clear ground left out
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
    heaviest: NDArray[np.int8]
    dates: tuple[int, ...]
    subset: NDArray[np.int16]
    shape: tuple[int, int]
    cells: CellGrid
    extent: Window
    field: CoarseField

    @classmethod
    def empty(cls, channels: int, count: int, bands: int, extent: Window) -> Coefficients:
        """Nothing was seen of the scene: its prediction is 0, its error is NaN."""
        return cls(
            np.zeros((1, 1, channels, 1 + count * bands), np.float32),
            np.full((1, 1, channels), np.nan, np.float32),
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
        return bool(np.isnan(self.error).any())

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
        flat = np.ascontiguousarray(values.reshape(len(values), -1).T)
        return self._apply(flat, self.subset[dates], row, col).T

    def predict(self, references: Array, usable: Bool, window: Window) -> Prediction:
        """Make the ground of a window.

        Parameters
        ----------
        references : (R, B, H, W) float32, reflectance
        usable : (R, H, W) bool
        window : absolute pixels of the scene
        """
        height, width = window.shape_yx
        seen = usable & np.isfinite(references).all(axis=1)
        subset = self.subset[dates_of(seen)].ravel()
        row, col = (
            part.ravel()
            for part in np.mgrid[
                window.row_off : window.row_off + height, window.col_off : window.col_off + width
            ].astype(np.int32)
        )
        flat = references.reshape(-1, height * width)
        ground = self._apply(flat, subset, row, col).reshape(-1, height, width)
        return Prediction(
            ground,
            self._error(subset.reshape(height, width), window),
            self._date(subset, row, col).reshape(height, width),
        )

    def _apply(
        self,
        flat: Array,
        subset: NDArray[np.int16],
        row: NDArray[np.int32],
        col: NDArray[np.int32],
    ) -> Array:
        """(C, n) of (R * B, n): by combination, cell corner and block, term by term in one order."""
        out = np.zeros((self.beta.shape[2], flat.shape[1]), np.float32)
        quad = self._quads(row, col)
        key = quad * len(self.dates) + subset
        order = np.argsort(key, kind="stable")
        found, starts = np.unique(key[order], return_index=True)
        for one, some in zip(found, np.split(order, starts[1:]), strict=True):
            place, number = divmod(int(one), len(self.dates))
            for start in range(0, len(some), _BLOCK):
                part = some[start : start + _BLOCK]
                out[:, part] = self._terms(flat, part, number, place, row, col)
        return out

    def _quads(self, row: NDArray[np.int32], col: NDArray[np.int32]) -> NDArray[np.int64]:
        """Number of the square between four cell middles in which a pixel lies."""
        rows, cols = self.cells.shape_yx
        half, side = self.cells.side_px // 2, self.cells.side_px
        y = np.clip((row - self.extent.row_off - half) // side, 0, max(rows - 2, 0))
        x = np.clip((col - self.extent.col_off - half) // side, 0, max(cols - 2, 0))
        return y.astype(np.int64) * cols + x

    def _shares(
        self, place: int, row: NDArray[np.int32], col: NDArray[np.int32]
    ) -> tuple[Array, Array]:
        """How far, 0-1, a pixel lies from the first of four cell middles towards the next."""
        rows, cols = self.cells.shape_yx
        half, side = self.cells.side_px // 2, self.cells.side_px
        y, x = divmod(place, cols)
        down = (row - self.extent.row_off - half - y * side).astype(np.float32) / np.float32(side)
        right = (col - self.extent.col_off - half - x * side).astype(np.float32) / np.float32(side)
        return np.clip(down, 0, 1 if rows > 1 else 0), np.clip(right, 0, 1 if cols > 1 else 0)

    def _terms(
        self,
        flat: Array,
        part: NDArray[np.intp],
        number: int,
        place: int,
        row: NDArray[np.int32],
        col: NDArray[np.int32],
    ) -> Array:
        """Ground (C, n) of pixels that share a combination and four cells."""
        count, bands = self.shape
        used = [
            r * bands + b for r in range(count) if self.dates[number] >> r & 1 for b in range(bands)
        ]
        values = [flat[k, part] for k in used]
        betas = self._corners(number, place)
        sums = []
        for beta in betas:
            out = np.empty((beta.shape[0], len(part)), np.float32)
            term = np.empty(len(part), np.float32)
            for channel, line in zip(beta, out, strict=True):
                line[:] = channel[0]
                for k, value in zip(used, values, strict=True):
                    np.multiply(value, channel[1 + k], out=term)
                    np.add(line, term, out=line)
            sums.append(out)
        if len(sums) == 1:
            return sums[0]
        down, right = self._shares(place, row[part], col[part])
        return np.asarray(sums[0] + right * sums[1] + down * (sums[2] + right * sums[3]))

    def _corners(self, number: int, place: int) -> list[Array]:
        """Coefficients at the first cell, and what is added to the right, down, and both ways."""
        rows, cols = self.cells.shape_yx
        beta = self.beta[number]
        if rows == cols == 1:
            return [beta[0]]
        right = place + (1 if cols > 1 else 0)
        down = place + (cols if rows > 1 else 0)
        across = down + (1 if cols > 1 else 0)
        first = beta[place]
        return [
            first,
            beta[right] - first,
            beta[down] - first,
            beta[across] - beta[right] - beta[down] + first,
        ]

    def _error(self, subset: NDArray[np.int16], window: Window) -> Array:
        """(C, H, W), between cell middles as the coefficients are."""
        rows, cols = self.cells.shape_yx
        side = self.cells.side_px
        top, left = window.row_off - self.extent.row_off, window.col_off - self.extent.col_off
        ys = (np.arange(top, top + window.height) - side // 2) / side
        xs = (np.arange(left, left + window.width) - side // 2) / side
        out = np.zeros((self.error.shape[2], *window.shape_yx), np.float32)
        for number in np.unique(subset):
            grid = self.error[number].T.reshape(-1, rows, cols)
            np.copyto(out, interpolate_blocks(grid, ys, xs), where=subset == number)
        return out

    def _date(
        self, subset: NDArray[np.int16], row: NDArray[np.int32], col: NDArray[np.int32]
    ) -> NDArray[np.int8]:
        cell = self.cells.index(row - self.extent.row_off, col - self.extent.col_off)
        return self.heaviest[subset, cell]
