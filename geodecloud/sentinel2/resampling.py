"""Bringing a band to another pixel size on the same ground, window by window: plain arithmetic.

One stated rule: finer pixels are interpolated bilinearly between pixel centres, coarser ones
are the mean of the pixels they cover, weighted by area. Sizes need not be multiples. A pixel
that has an invalid pixel in its sum is invalid: nodata never bleeds into ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Taps:
    """Weights of one axis: output pixel n is ``sum_k weight[k, n] * source[index[k, n]]``.

    Attributes
    ----------
    index : (K, N) int, source pixels
    weight : (K, N) float64, sums to 1 over K
    """

    index: NDArray[np.int64]
    weight: NDArray[np.float64]

    @property
    def span(self) -> tuple[int, int]:
        """First source pixel needed and one past the last."""
        return int(self.index.min()), int(self.index.max()) + 1


def plan_taps(start: int, stop: int, size: int, source_size: int) -> Taps:
    """Weights for output pixels start to stop, of `size` that cover what `source_size` cover.

    Parameters
    ----------
    start, stop : output pixels
    size, source_size : pixels of the whole axis, out and in; both cover the same ground
    """
    ratio = source_size / size  # source pixels in one output pixel
    pixels = np.arange(start, stop)
    if ratio <= 1:
        centre = (pixels + 0.5) * ratio - 0.5
        first = np.floor(centre).astype(np.int64)
        index = np.stack([first, first + 1])
        share = centre - first
        weight = np.stack([1 - share, share])
    else:
        low, high = pixels * ratio, (pixels + 1) * ratio
        first = np.floor(low + 1e-9).astype(np.int64)
        index = first + np.arange(int(np.ceil(ratio)) + 1)[:, None]
        weight = np.clip(np.minimum(index + 1, high) - np.maximum(index, low), 0, None)
        weight[weight < 1e-6] = 0
        weight /= weight.sum(axis=0)
    return Taps(np.clip(index, 0, source_size - 1), weight)


def plan_nearest(start: int, stop: int, size: int, source_size: int) -> NDArray[np.int64]:
    """Source pixel under the centre of each output pixel."""
    centre = (np.arange(start, stop) + 0.5) * (source_size / size)
    return np.minimum(centre.astype(np.int64), source_size - 1)


def resample(source: NDArray[Any], rows: Taps, cols: Taps, nodata: int) -> NDArray[Any]:
    """Resample integers; invalid pixels spoil all pixels they have a part in, and no other.

    Parameters
    ----------
    source : (h, w), from ``rows.span`` and ``cols.span`` of the band
    nodata : of `source` and of the result

    Returns
    -------
    (H, W) of the same dtype, rounded half to even; a valid pixel is never `nodata`
    """
    invalid = source == nodata
    values = _along_rows(source.astype(np.float64), rows)
    values = _along_rows(values.T, cols).T
    out = np.rint(values).astype(source.dtype)
    out[out == nodata] = nodata + (1 if nodata < np.iinfo(source.dtype).max else -1)
    if invalid.any():
        spoilt = _along_rows(invalid.astype(np.float64), rows)
        out[_along_rows(spoilt.T, cols).T > 0] = nodata
    return out


def _along_rows(array: NDArray[np.float64], taps: Taps) -> NDArray[np.float64]:
    first, _ = taps.span
    total = np.zeros((taps.index.shape[1], array.shape[1]))
    for index, weight in zip(taps.index, taps.weight, strict=True):
        total += weight[:, None] * array[index - first]
    return total
