"""What is replaced, how much of it, and what is said about it afterwards.

Only pixels of the mask change. At the mask's edge the replacement weight rises smoothly from
0, so the seam between observed and restored ground cannot be seen; outside it is exactly 0,
so observed ground stays bit-identical.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

Bool = NDArray[np.bool_]

#: Width of the ramp at the mask's edge, in px.
FEATHER_PX = 4
#: The cloud map finds a cloud's rim last; the mask reaches this far beyond what it finds, so
#: that the ramp lies over clear ground and not over the rim.
MARGIN_PX = 5
#: From so much less opacity than hides the ground, what stands in for it begins to weigh.
_HIDES = 0.2
#: The mask's margin and soft edge look this much further than the pixels asked for.
MASK_REACH_PX = FEATHER_PX + MARGIN_PX


class Provenance(IntEnum):
    """Codes of the provenance raster; every pixel of a scene has exactly one."""

    NODATA = 0
    OBSERVED = 1
    RESTORED = 2
    SYNTHESISED = 3
    LEFT = 4
    OTHER_DATE = 5


@dataclass(frozen=True)
class PixelDecision:
    """What happens to each pixel of a block; all arrays (H, W).

    Attributes
    ----------
    weight : float64 in [0, 1], 0 exactly where nothing may change
    provenance : uint8, codes of `Provenance`
    """

    weight: NDArray[np.float64]
    provenance: NDArray[np.uint8]


def classify_pixels(
    valid: Bool, usable: Bool, is_cloud: Bool, hidden: Bool, allowed: Bool, strict: bool
) -> PixelDecision:
    """Decide for each pixel whether it is replaced, and with which code.

    Parameters
    ----------
    valid : the pixel has data
    usable : the model could read it: valid in every band it restores
    is_cloud : the mask
    hidden : the ground was not visible
    allowed : inside the area of interest
    strict : leave hidden pixels as they were
    """
    replace = is_cloud & usable & allowed
    if strict:
        replace &= ~hidden
    codes = np.full(valid.shape, Provenance.OBSERVED, np.uint8)
    codes[is_cloud & allowed] = Provenance.LEFT
    codes[replace] = np.where(hidden[replace], Provenance.SYNTHESISED, Provenance.RESTORED)
    codes[~valid] = Provenance.NODATA
    return PixelDecision(feather(replace, keep=valid & ~replace), codes)


def hiding_share(opacity: NDArray[np.float32], opaque: float) -> NDArray[np.float32]:
    """How far cloud hides the ground, in [0, 1]: it begins a little below the opacity that hides it.

    What stands in for hidden ground has this weight, so that there is no edge where it begins to.
    """
    ramp = np.clip((opacity - (opaque - _HIDES)) / _HIDES, 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def add_margin(is_cloud: Bool) -> Bool:
    """Widen a mask by `MARGIN_PX`, in all directions alike."""
    if not is_cloud.any() or is_cloud.all():
        return is_cloud
    return _dilate(is_cloud, MARGIN_PX)


def _dilate(mask: Bool, radius: int) -> Bool:
    """Pixels at most `radius` away from one of a mask.

    The disc is made of rows: the mask is widened along x, a pixel at a time, and each width goes up and down as far
    as the disc is that wide. A tenth of the time of a distance transform.
    """
    near, row = mask.copy(), mask
    heights = [math.isqrt(radius**2 - half**2) for half in range(radius + 1)]
    for half in range(radius + 1):
        if half:
            row = _with_neighbours(row)
        lower = heights[half + 1] if half < radius else -1
        for step in range(max(lower + 1, 0), min(heights[half] + 1, len(mask))):
            near[step:] |= row[: len(row) - step]
            near[: len(row) - step] |= row[step:]
    return near


def _with_neighbours(row: Bool) -> Bool:
    """A mask and what lies left and right of it."""
    wide = row.copy()
    wide[:, 1:] |= row[:, :-1]
    wide[:, :-1] |= row[:, 1:]
    return wide


def feather(replace: Bool, keep: Bool) -> NDArray[np.float64]:
    """Weight rising from the pixels that stay: ``smoothstep(distance / (FEATHER_PX + 1))``.

    The distance is to the nearest pixel of `keep`. Nodata and the edge of the scene keep
    nothing, so the weight stays 1 next to them. It depends on pixels at most `FEATHER_PX`
    away, which makes it the same however the scene is cut.
    """
    if not replace.any() or not keep.any():
        return replace.astype(np.float64)
    most = FEATHER_PX + 1
    ramp = np.sqrt(np.arange(most**2 + 1)) / most
    return np.where(replace, (ramp * ramp * (3 - 2 * ramp))[_squared_distance(keep, most)], 0.0)


def _squared_distance(mask: Bool, most: int) -> NDArray[np.uint8]:
    """Squared distance to the nearest pixel of a mask, at most `most` squared.

    Steps along the row first, then down and up from there: a tenth of the time of a distance transform.
    """
    along, row = (~mask).astype(np.uint8), mask
    for _ in range(most - 1):
        row = _with_neighbours(row)
        along += ~row
    along *= along
    squared = along.copy()
    for step in range(1, min(most, len(mask))):
        further = along + np.uint8(step**2)
        np.minimum(squared[step:], further[:-step], out=squared[step:])
        np.minimum(squared[:-step], further[step:], out=squared[:-step])
    return squared


def fill_gaps(image: NDArray[np.float32], usable: Bool, radius_px: int) -> NDArray[np.float32]:
    """Fill unusable pixels with the mean of the usable ones within `radius_px`.

    Networks see their neighbourhood: a hole of zeros darkens ground up to a halo away, and
    one NaN spoils all of it. The square mean reaches no further than `radius_px`, so the fill
    does not depend on how the scene is cut; where nothing usable is near, it is 0.

    Parameters
    ----------
    image : (C, H, W), values of unusable pixels are ignored and may be NaN
    usable : (H, W)
    """
    if usable.all() or radius_px == 0:
        return image
    known = np.where(usable, image, 0).astype(np.float64)
    size = 2 * radius_px + 1
    share = uniform_filter(usable.astype(np.float64), size, mode="constant")
    # running sums leave crumbs of 1e-17 where nothing is near
    near = share > 0.5 / size**2
    filled = np.zeros_like(known)
    for channel, total in zip(filled, known, strict=True):
        mean = uniform_filter(total, size, mode="constant")
        np.divide(mean, share, out=channel, where=near)
    return np.where(usable, image, filled).astype(np.float32)
