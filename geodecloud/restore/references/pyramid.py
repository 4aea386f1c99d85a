"""Carry values from where they are known to where they are not, from fine scales to coarse ones.

Blocks of 1, 2, 4, ... px are averaged where values are known and smoothed with their neighbours. From
the coarsest on down, each level takes its own mean where it has one, and that of the level above
where it has little. Every step adds its terms in the same order at each pixel: the result at a pixel
depends on what is known within a reach, to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.sample import Array

#: Weight of the level above, in full blocks of this level.
STIFFNESS = 0.02
#: A binomial filter of five blocks: a standard deviation of one.
TAPS = (0.375, 0.25, 0.0625)


def carry_levels(
    values: Array,
    weight: Array,
    prior: Array | None,
    levels: int | None = None,
    first: int = 0,
) -> Array:
    """Values everywhere, (C, H, W).

    Parameters
    ----------
    values : (C, H, W) float32, already times `weight`
    weight : (H, W) float32 in [0, 1], 0 where nothing is known
    prior : (C, ...) what is put where no level knows anything, at the resolution of the level above
        the last; None: zeros, and as many levels as it takes to end in one block
    levels : number of levels
    first : of the levels, counted from single pixels, that is the finest to be smoothed
    """
    height, width = weight.shape
    if levels is None:
        levels = max(1, (max(height, width) - 1).bit_length() + 1)
    stack = [(values, weight)]
    for _ in range(levels - 1):
        stack.append((halve(stack[-1][0]), halve(stack[-1][1][None])[0]))
    if prior is None:
        above = np.zeros_like(halve(stack[-1][0]))
    else:
        above = prior
    for level in range(levels - 1, -1, -1):
        total, known = stack[level]
        above = double(above)[:, : total.shape[1], : total.shape[2]]
        if level < first:
            continue
        total, known = smooth(total), smooth(known[None])[0]
        above = (total + np.float32(STIFFNESS) * above) / (known + np.float32(STIFFNESS))
    return above


def halve(values: Array) -> Array:
    """Mean of blocks of 2 x 2, zeros beyond the edge."""
    height, width = values.shape[-2:]
    if height % 2 or width % 2:
        values = np.pad(values, ((0, 0), (0, height % 2), (0, width % 2)))
    rows = values[:, ::2] + values[:, 1::2]
    return np.asarray((rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25))


def double(values: Array) -> Array:
    """Linear interpolation at the middles of blocks half as large; the edge goes on as it is."""
    for axis in (1, 2):
        moved = np.moveaxis(values, axis, 0)
        fine = np.empty((2 * moved.shape[0], *moved.shape[1:]), np.float32)
        part = moved * np.float32(0.25)
        most = moved * np.float32(0.75)
        fine[0::2], fine[1::2] = most, most
        fine[2::2] += part[:-1]
        fine[1:-1:2] += part[1:]
        fine[0] += part[0]
        fine[-1] += part[-1]
        values = np.moveaxis(fine, 0, axis)
    return np.ascontiguousarray(values)


def smooth(values: Array) -> Array:
    """The binomial filter along both axes; nothing is known beyond the edge."""
    for axis in (1, 2):
        moved = np.moveaxis(values, axis, 0)
        out = moved * np.float32(TAPS[0])
        for step, tap in enumerate(TAPS[1:], 1):
            part = moved * np.float32(tap)
            out[step:] += part[:-step]
            out[:-step] += part[step:]
        values = np.moveaxis(out, 0, axis)
    return values


def interpolate_blocks(values: Array, ys: NDArray[np.float64], xs: NDArray[np.float64]) -> Array:
    """Linear interpolation of (C, rows, cols) at fractional indices; the edge goes on as it is."""
    for axis, at in ((1, ys), (2, xs)):
        low = np.clip(np.floor(at).astype(np.int64), 0, values.shape[axis] - 1)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        share = np.clip(at - low, 0, 1).astype(np.float32)
        share = share[:, None] if axis == 1 else share
        below, above = values.take(low, axis), values.take(high, axis)
        values = below * (1 - share) + above * share
    return np.asarray(values, np.float32)
