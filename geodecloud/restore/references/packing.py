"""What waits for its chunk as whole numbers: half the memory of floats, and what sensors send anyway."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.sample import Array

#: Reflectance of one unit.
_UNIT = 1e-4
#: What stands for no data.
GAP = -32768


#: Opacity in so many steps; one more stands for no number.
_STEPS = 65534
#: So many numbers are packed at once: they stay in the processor's cache.
_PART = 1 << 15


def pack(reflectance: Array) -> NDArray[np.int16]:
    """Reflectance as ten-thousandths; NaN becomes a number of its own."""
    out = np.empty(reflectance.shape, np.int16)
    flat, packed = np.ravel(reflectance), out.reshape(-1)
    for start in range(0, flat.size, _PART):
        part = flat[start : start + _PART]
        units = np.rint(part / np.float32(_UNIT)).clip(-32767, 32767)
        units[~np.isfinite(part)] = GAP
        packed[start : start + _PART] = units
    return out


def unpack(values: NDArray[np.int16] | Array) -> Array:
    """The other way round, but for gaps, which no date that is usable has: they become -3.2768. Floats stay."""
    packed = values.dtype == np.int16
    return np.asarray(values * np.float32(_UNIT) if packed else values, np.float32)


def pack_opacity(opacity: Array) -> NDArray[np.uint16]:
    """Opacity in [0, 1] in steps of 1 / 65 534, NaN too."""
    steps = np.rint(opacity * np.float32(_STEPS))
    return np.where(np.isnan(steps), np.float32(_STEPS + 1), steps).astype(np.uint16)


def unpack_opacity(steps: NDArray[np.uint16]) -> Array:
    """The other way round."""
    opacity = steps * np.float32(1 / _STEPS)
    opacity[steps > _STEPS] = np.nan
    return np.asarray(opacity, np.float32)
