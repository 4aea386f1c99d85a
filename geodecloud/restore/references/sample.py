"""A thin look at a scene and at its other dates: all that a fit ever sees of them.

The sample is taken at pixels of a lattice that starts at the scene's corner, so it does not depend on
how the scene was cut when it was taken: parts are added in any order and give the same fit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]
Bool = NDArray[np.bool_]

#: About as many pixels are looked at in a scene, fewer where it is small or cloudy.
SAMPLE_PX = 1_000_000
#: More dates than this need more combinations than are worth solving.
MAX_REFERENCES = 8


def plan_stride(shape_yx: tuple[int, int]) -> int:
    """Step of the lattice, in px: 1 for scenes of less than a megapixel, 11 for a Sentinel-2 tile."""
    return max(1, math.ceil(math.sqrt(shape_yx[0] * shape_yx[1] / SAMPLE_PX)))


@dataclass(frozen=True)
class Sample:
    """Clear pixels of a scene with what other dates show there.

    Law: ``a + b`` and ``b + a`` give the same fit; no pixel may be in both.

    Attributes
    ----------
    row, col : (n,) int32, pixels of the scene
    scene : (n, C) float32, reflectance
    references : (n, R, B) float32, reflectance; 0 where a date is not usable
    usable : (n, R) bool
    """

    row: NDArray[np.int32]
    col: NDArray[np.int32]
    scene: Array
    references: Array
    usable: Bool

    def __len__(self) -> int:
        return len(self.row)

    def __add__(self, other: Sample) -> Sample:
        return merge([self, other])

    def take(self, index: NDArray[np.intp] | Bool) -> Sample:
        """Some of the pixels."""
        return Sample(
            self.row[index],
            self.col[index],
            self.scene[index],
            self.references[index],
            self.usable[index],
        )

    def in_order(self) -> Sample:
        """The same pixels from top to bottom, left to right: sums do not depend on the cut then."""
        return self.take(np.lexsort((self.col, self.row)))


def merge(samples: Iterable[Sample]) -> Sample:
    """One sample of many, at least one; see `Sample`."""
    parts = list(samples)
    fields = ("row", "col", "scene", "references", "usable")
    return Sample(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def take_sample(
    scene: Array,
    clear: Bool,
    references: Array,
    usable: Bool,
    window: Window,
    stride_px: int,
) -> Sample:
    """Take the pixels of the scene's lattice that lie in a window and are clear in the scene.

    Parameters
    ----------
    scene : (C, H, W) float32, reflectance over `window`
    clear : (H, W) bool, ground is seen in the scene: neither cloud, shadow, snow nor nodata
    references : (R, B, H, W) float32, reflectance of other dates on the scene's grid; R may be 0
    usable : (R, H, W) bool, ground is seen on that date
    window : absolute pixels of the scene
    stride_px : step of the lattice, see `plan_stride`
    """
    step_y = slice(-window.row_off % stride_px, None, stride_px)
    step_x = slice(-window.col_off % stride_px, None, stride_px)
    scene, clear = scene[:, step_y, step_x], clear[step_y, step_x]
    references, usable = references[:, :, step_y, step_x], usable[:, step_y, step_x]
    clear = clear & np.isfinite(scene).all(axis=0)
    row, col = np.nonzero(clear)
    seen = usable[:, clear] & np.isfinite(references[:, :, clear]).all(axis=1)
    values = np.where(seen[:, None], references[:, :, clear], 0)
    return Sample(
        (row * stride_px + window.row_off + step_y.start).astype(np.int32),
        (col * stride_px + window.col_off + step_x.start).astype(np.int32),
        np.ascontiguousarray(scene[:, clear].T, np.float32),
        np.ascontiguousarray(np.moveaxis(values, -1, 0), np.float32),
        np.ascontiguousarray(seen.T),
    )


def dates_of(usable: Bool) -> NDArray[np.int32]:
    """Which dates a pixel has, as a number: bit r is set where ``usable[r]``; axis 0 goes."""
    bits = (usable[r].astype(np.int32) << r for r in range(len(usable)))
    return functools.reduce(np.bitwise_or, bits, np.zeros(usable.shape[1:], np.int32))
