"""Carry values from where they are known to where they are not, from fine scales to coarse ones.

Blocks of 1, 2, 4, ... px are averaged where values are known and smoothed with their neighbours. From
the coarsest on down, each level takes its own mean where it has one, and that of the level above
where it has little. Every step adds its terms in the same order at each pixel: the result at a pixel
depends on what is known within a reach, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.sample import Array
from geodecloud.windows.tiler import Window

#: Weight of the level above, in full blocks of this level.
STIFFNESS = 0.03
#: A binomial filter of five blocks: a standard deviation of one.
TAPS = (0.375, 0.25, 0.0625)
#: So many pixels are made at once: what belongs to them stays in the processor's cache.
_STRIP_PX = 1 << 15


@dataclass(frozen=True)
class Carried:
    """What is known, carried everywhere.

    Attributes
    ----------
    values : (C, H, W) float32
    open_share : (K, H, W) float32, factor on the variance, by each of K models
    """

    values: Array
    open_share: Array


def carry(
    values: Array,
    weight: Array,
    shares: NDArray[np.float32],
    above: Carried | None = None,
) -> Carried:
    """Carry values from where they are known.

    Parameters
    ----------
    values : (C, H, W) float32, already times `weight`
    weight : (H, W) float32 in [0, 1], 0 where nothing is known
    shares : (levels, K) float32, factor on the variance where a level knows all
    above : at twice the side of the coarsest level's blocks; None: zeros, and the
        factor of the last level
    """
    stack = [(values, weight[None])]
    for _ in shares[1:]:
        stack.append((halve(stack[-1][0]), halve(stack[-1][1])))
    if above is None:
        empty = np.zeros_like(halve(stack[-1][0]))
        above = Carried(empty, empty[:1] + shares[-1][:, None, None])
    for (total, known), share in zip(stack[::-1], shares[::-1], strict=True):
        above = _carry_down(total, known, share, above)
    return above


def _carry_down(total: Array, known: Array, share: NDArray[np.float32], above: Carried) -> Carried:
    """One level, (C, H, W) and (1, H, W), with what the level above says where it has little itself."""
    channels, (height, width) = len(total), known.shape[1:]
    own = _with_edge(np.concatenate([known, total]), 2)
    coarse = _with_edge(np.concatenate([above.values, above.open_share]), 1, mode="edge")
    out = np.empty((len(coarse), height, width), np.float32)
    stiff = np.float32(STIFFNESS)
    step = max(2, _STRIP_PX // width // 2 * 2)
    for top in range(0, height, step):
        end = min(top + step, height)
        smoothed = smooth(own[:, top : end + 4])
        known, total = smoothed[:1], smoothed[1:]
        wide = double(coarse[:, top // 2 : (end + 1) // 2 + 2])[:, 2 : 2 + end - top, 2 : 2 + width]
        sure = np.float32(1) / (known + stiff)
        out[:channels, top:end] = (total + stiff * wide[:channels]) * sure
        out[channels:, top:end] = (known * share[:, None, None] + stiff * wide[channels:]) * sure
    return Carried(out[:channels], out[channels:])


def _with_edge(values: Array, width: int, mode: Literal["constant", "edge"] = "constant") -> Array:
    return np.pad(values, ((0, 0), (width, width), (width, width)), mode=mode)


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
        shape = list(values.shape)
        shape[axis] *= 2
        out = np.empty(shape, np.float32)
        fine, coarse = np.moveaxis(out, axis, 0), np.moveaxis(values, axis, 0)
        part, most = coarse * np.float32(0.25), coarse * np.float32(0.75)
        np.add(most[1:], part[:-1], out=fine[2::2])
        np.add(most[:-1], part[1:], out=fine[1:-1:2])
        np.add(most[0], part[0], out=fine[0])
        np.add(most[-1], part[-1], out=fine[-1])
        values = out
    return values


def smooth(values: Array) -> Array:
    """The binomial filter along both axes, of all but two blocks at each edge."""
    for axis in (1, 2):
        moved = np.moveaxis(values, axis, 0)
        middle = len(TAPS) - 1
        length = len(moved) - 2 * middle
        out = moved[middle:-middle] * np.float32(TAPS[0])
        for step, tap in enumerate(TAPS[1:], 1):
            part = moved * np.float32(tap)
            out += part[middle - step :][:length]
            out += part[middle + step :][:length]
        values = np.moveaxis(out, 0, axis)
    return values


def over_pixels(values: Array, window: Window, side_px: int) -> Array:
    """Blocks (C, rows, cols) of a scene, counted from its corner, over the pixels of a window (C, H, W), by `interpolate_blocks`."""
    ys, xs = (
        (np.arange(begin, begin + length) + 0.5) / side_px - 0.5
        for begin, length in ((window.row_off, window.height), (window.col_off, window.width))
    )
    return interpolate_blocks(values, ys, xs)


def interpolate_blocks(values: Array, ys: NDArray[np.float64], xs: NDArray[np.float64]) -> Array:
    """Linear interpolation of (C, rows, cols) at fractional indices; the edge goes on as it is."""
    low, high, share = _between(ys, values.shape[1])
    share = share[:, None]
    values = values.take(low, 1) * (1 - share) + values.take(high, 1) * share
    low, high, share = _between(xs, values.shape[2])
    out = np.empty((*values.shape[:2], len(xs)), np.float32)
    step = max(1, _STRIP_PX // len(xs))
    for top in range(0, len(ys), step):
        rows = values[:, top : top + step]
        np.multiply(rows.take(low, 2), 1 - share, out=out[:, top : top + step])
        out[:, top : top + step] += rows.take(high, 2) * share
    return out


def _between(at: NDArray[np.float64], count: int) -> tuple[NDArray[Any], NDArray[Any], Array]:
    """The indices before and after fractional ones, and how far on they are, 0-1."""
    low = np.clip(np.floor(at).astype(np.int64), 0, count - 1)
    return low, np.minimum(low + 1, count - 1), np.clip(at - low, 0, 1).astype(np.float32)
