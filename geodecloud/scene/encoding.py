"""What a decoded array will be packed into when it is written again.

xarray and rioxarray decode integers to floats and remember dtype, scale, offset and fill value in
``encoding``. On writing they pack again, and what the integers cannot hold wraps around: a restored
value below 0 becomes a very bright one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Encoding:
    """``packed = round((value - offset) / scale)`` in an integer dtype; `fill` stands for no data."""

    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    fill: int | None = None

    @classmethod
    def of(cls, array: xr.DataArray) -> Encoding | None:
        """The packing that an array of floats carries; None: it carries none, or is not decoded."""
        said = array.encoding
        try:
            dtype = np.dtype(said.get("dtype", "float64"))
        except TypeError:
            return None
        if dtype.kind not in "ui" or array.dtype.kind != "f":
            return None
        # netCDF 3 and others without unsigned numbers: the bits of a signed one stand for them
        if dtype.kind == "i" and str(said.get("_Unsigned", "")).lower() == "true":
            dtype = np.dtype(f"u{dtype.name}")
        scale, offset = _number(said, "scale_factor", 1.0), _number(said, "add_offset", 0.0)
        fill = said.get("_FillValue", said.get("missing_value"))
        whole = None if fill is None or not np.isfinite(float(fill)) else int(fill)
        if whole is not None and whole < 0 and dtype.kind == "u":
            whole += int(np.iinfo(dtype).max) + 1
        return None if scale == 0 else cls(dtype.name, scale, offset, whole)

    def keep_within(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values moved as little as needed to be packed without wrapping or becoming the fill value."""
        limits = np.iinfo(self.dtype)
        # where 0 is no data, sensors count from 1; netCDF 3 has such unsigned numbers in signed ones
        least = 1 if self.fill == 0 else limits.min
        packed = np.clip((values - self.offset) / self.scale, least, limits.max)
        if self.fill is not None:
            aside = self.fill + (1 if self.fill < limits.max else -1)
            with np.errstate(invalid="ignore"):
                packed = np.where(np.rint(packed) == self.fill, aside, packed)
        kept: NDArray[np.float64] = packed * self.scale + self.offset
        changed = np.abs(packed - (values - self.offset) / self.scale) > 1e-9
        return np.where(changed, kept, values)


def is_unpacked(array: xr.DataArray) -> bool:
    """Whether xarray has scaled an array when it opened it: then its scale is in its encoding."""
    return array.dtype.kind == "f" and bool({"scale_factor", "add_offset"} & array.encoding.keys())


def _number(said: Mapping[str, Any], key: str, default: float) -> float:
    found = np.asarray(said.get(key, default), np.float64).ravel()
    return float(found[0]) if found.size == 1 else default
