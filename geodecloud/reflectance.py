"""DN to reflectance and back: decided once per scene, never per window.

``reflectance = DN * scale + offset``. Reflectance has no unit and may exceed 1. The pair obeys
one law: ``encode(decode(dn)) == dn`` for every integer DN that is not nodata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.bands import SENTINEL2_NM, canonical_name
from geodecloud.errors import SceneError


@dataclass(frozen=True)
class Codec:
    """Converts the restored bands of one scene between DN and reflectance.

    Attributes
    ----------
    scales, offsets : one number per restored band
    dtype : numpy dtype name of the scene
    nodata : the scene's nodata DN or None
    reason : in words, how scale and offset were decided
    """

    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    dtype: str
    nodata: float | None
    reason: str

    def decode(self, dn: NDArray[Any]) -> NDArray[np.float64]:
        """DN (C, H, W) to reflectance (C, H, W); float64, so that nothing wraps or rounds."""
        return dn.astype(np.float64) * self._column(self.scales) + self._column(self.offsets)

    def encode(self, reflectance: NDArray[np.float64]) -> NDArray[Any]:
        """Reflectance (C, H, W) to DN, rounded half to even, clipped to the dtype.

        The result is never the nodata value: it takes the nearest other DN, so that a
        restored pixel stays a valid pixel.
        """
        dn = (reflectance - self._column(self.offsets)) / self._column(self.scales)
        dtype = np.dtype(self.dtype)
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            # the largest 64-bit integers have no float64; np.clip needs one that has
            top = np.nextafter(float(limits.max), 0) if dtype.itemsize == 8 else limits.max
            out = np.clip(np.rint(dn), limits.min, top).astype(dtype)
            if self.nodata is not None and limits.min <= self.nodata <= limits.max:
                step = 1 if self.nodata < limits.max else -1
                out[out == dtype.type(self.nodata)] = dtype.type(self.nodata + step)
            return out
        out = dn.astype(dtype)
        if self.nodata is not None and np.isfinite(self.nodata):
            nodata = dtype.type(self.nodata)
            out[out == nodata] = np.nextafter(nodata, dtype.type(0) if nodata else dtype.type(1))
        return out

    @staticmethod
    def _column(values: Sequence[float]) -> NDArray[np.float64]:
        return np.asarray(values, np.float64)[:, None, None]


def decide_codec(
    dtype: np.dtype[Any],
    descriptions: Sequence[str | None],
    scales: Sequence[float],
    offsets: Sequence[float],
    nodata: float | None,
    scale: float | None = None,
    offset: float | None = None,
) -> Codec:
    """Decide how the restored bands are converted, and say why.

    Order: what the caller gives; what the file declares; 8 bits are DN / 255; 16 bits under
    Sentinel-2 band names are DN / 10 000 (ESA, Sentinel-2 Products Specification, quantification
    value); floats are reflectance already. Anything else is asked for.

    Parameters
    ----------
    dtype : of the scene
    descriptions, scales, offsets : of the bands to restore; 1 and 0 where not declared
    nodata : DN or None
    scale, offset : the caller's word, wins over the file's

    Raises
    ------
    SceneError
        If nothing says what a DN means, or the numbers cannot be.
    """
    count = len(descriptions)
    numbers = [*scales, *offsets, *(v for v in (scale, offset) if v is not None)]
    if not np.isfinite(numbers).all() or 0 in scales or scale == 0:
        raise SceneError(
            f"reflectance = DN * {scale or list(scales)} + {offset or list(offsets)} has no inverse; "
            "give finite numbers and a scale other than 0: --scale 0.0001 --offset 0"
        )

    def codec(s: Sequence[float], o: Sequence[float], reason: str) -> Codec:
        return Codec(tuple(s), tuple(o), dtype.name, nodata, reason)

    if scale is not None or offset is not None:
        s, o = scale if scale is not None else 1.0, offset or 0.0
        return codec([s] * count, [o] * count, f"reflectance = DN * {s:g} + {o:g}, as asked")
    if any(s != 1 for s in scales) or any(o != 0 for o in offsets):
        s, o = scales[0], offsets[0]
        more = "" if len(set(scales)) == len(set(offsets)) == 1 else " (first of several)"
        return codec(
            scales, offsets, f"reflectance = DN * {s:g} + {o:g}, as the scene declares{more}"
        )
    if dtype == np.uint8:
        return codec(
            [1 / 255] * count, [0.0] * count, "reflectance = DN / 255, as for any 8-bit image"
        )
    names = [canonical_name(d) for d in descriptions]
    if dtype in (np.uint16, np.int16) and names and all(name in SENTINEL2_NM for name in names):
        return codec(
            [1e-4] * count,
            [0.0] * count,
            "reflectance = DN / 10000, as for Sentinel-2 bands; products of baseline 04.00 or later "
            "have an offset: give --offset -0.1 unless your provider removed it",
        )
    if np.issubdtype(dtype, np.floating):
        return codec([1.0] * count, [0.0] * count, f"{dtype.name} values are taken as reflectance")
    raise SceneError(
        f"nothing says what a {dtype.name} DN means in reflectance: the scene declares no scale and "
        "its bands are not named as Sentinel-2's. Give --scale and --offset, such as --scale 0.0001"
    )
