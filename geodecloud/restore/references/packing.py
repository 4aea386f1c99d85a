"""Reflectance of other dates as whole numbers: half the memory of floats, and what sensors send anyway."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.sample import Array

#: Reflectance of one unit.
_UNIT = 1e-4
#: What stands for no data.
GAP = -32768


def pack(reflectance: Array) -> NDArray[np.int16]:
    """Reflectance as ten-thousandths; NaN becomes a number of its own."""
    units = np.clip(np.rint(np.nan_to_num(reflectance / np.float32(_UNIT))), -32767, 32767)
    return np.where(np.isfinite(reflectance), units, GAP).astype(np.int16)


def unpack(values: NDArray[np.int16] | Array) -> Array:
    """The other way round, but for gaps, which no date that is usable has: they become -3.2768. Floats stay."""
    packed = values.dtype == np.int16
    return np.asarray(values * np.float32(_UNIT) if packed else values, np.float32)
