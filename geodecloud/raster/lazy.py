"""Arrays that dask asks for windows of, whatever lies behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class LazyWindows:
    """An array (..., y, x) that reads no more than the window a selection needs; picklable."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        # dask hands on what the user selects: slices, numbers or lists
        picks = [np.arange(n)[k] for n, k in zip(self.shape, key, strict=True)]
        *lead, rows, cols = (np.atleast_1d(pick) for pick in picks)
        shape = [pick.size for pick in picks if pick.ndim]
        if 0 in (rows.size, cols.size):
            return np.empty(shape, self.dtype)
        top, left = int(rows.min()), int(cols.min())
        bottom, right = int(rows.max()) + 1, int(cols.max()) + 1
        block = self.read((top, bottom), (left, right), *lead)
        return block[..., rows[:, None] - top, cols - left].reshape(shape)

    def read(self, rows: tuple[int, int], cols: tuple[int, int], *lead: Any) -> NDArray[Any]:
        """Pixels of one window, for the indexes `lead` of the other axes."""
        raise NotImplementedError
