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

from geodecloud.errors import SceneError
from geodecloud.scene.bands import are_sentinel2
from geodecloud.scene.encoding import Encoding

Floats = NDArray[Any]

#: Clouds and snow reach about 1.2, glint a little more.
MOST_REFLECTANCE = 5.0
#: Over-corrected shade and water are a little below 0, never as far as this.
LEAST_REFLECTANCE = -0.5
#: The brightest hundredth of any scene reflects more than this.
LEAST_BRIGHT = 1e-3
#: Floats of which the brightest hundredth would be darker than this once scaled have been scaled already: percent
#: of cloud are beyond it, their hundredth part is not.
_DARKER = 0.015
#: Where this share of a band would reflect less than that once the offset is added, it has been added already.
_NO_GROUND, _ODD_SHARE = -0.03, 0.01
#: Of integers, which can be saturated: under full cloud all of 65535 / 10 000.
MOST_SATURATED = 10.0


@dataclass(frozen=True)
class Tone:
    """Pictures to light and back: ``reflectance = white * value ** gamma``.

    Screens are given something near the root of what a sensor saw, in which cloud and ground
    do not mix linearly. A model for pictures is taught, and shown, the square instead.

    Attributes
    ----------
    gamma : 1 where values are reflectance already
    white : reflectance of the value 1
    """

    gamma: float = 1.0
    white: float = 1.0

    def light(self, values: Floats) -> Floats:
        """Reflectance of values, 1 is white; what is below 0 stays below."""
        if self == PLAIN:
            return values
        found: Floats = np.sign(values) * np.abs(values) ** self.gamma * self.white
        return found

    def values(self, reflectance: Floats) -> Floats:
        """The other way round."""
        if self == PLAIN:
            return reflectance
        found: Floats = np.sign(reflectance) * (np.abs(reflectance) / self.white) ** (
            1 / self.gamma
        )
        return found


#: Values that are reflectance already.
PLAIN = Tone()


@dataclass(frozen=True)
class Codec:
    """Converts the restored bands of one scene between DN and reflectance.

    Attributes
    ----------
    scales, offsets : one number per restored band
    dtype : numpy dtype name of the scene
    nodata : the scene's nodata DN or None
    reason : in words, how scale and offset were decided
    tone : of a picture, applied after scale and offset
    encodings : what each band's values will be packed into later; empty: nothing is known
    """

    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    dtype: str
    nodata: float | None
    reason: str
    tone: Tone = PLAIN
    encodings: tuple[Encoding | None, ...] = ()

    @property
    def most(self) -> float:
        """Largest reflectance that can be one; integers can be saturated."""
        floating = np.issubdtype(np.dtype(self.dtype), np.floating)
        return MOST_REFLECTANCE if floating else MOST_SATURATED

    def decode(self, dn: NDArray[Any]) -> NDArray[np.float64]:
        """DN (C, H, W) to reflectance (C, H, W); float64, so that nothing wraps or rounds."""
        values = dn.astype(np.float64) * self._column(self.scales) + self._column(self.offsets)
        return self.tone.light(values)

    def encode(self, reflectance: NDArray[np.float64]) -> NDArray[Any]:
        """Reflectance (C, H, W) to DN, rounded half to even, clipped to the dtype.

        The result is never the nodata value: it takes the nearest other DN, so that a
        restored pixel stays a valid pixel. Floats that will be packed into integers later are kept
        within what these can hold.
        """
        values = self.tone.values(reflectance)
        dn = (values - self._column(self.offsets)) / self._column(self.scales)
        dtype = np.dtype(self.dtype)
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            # the largest 64-bit integers have no float64; np.clip needs one that has
            top = np.nextafter(float(limits.max), 0) if dtype.itemsize == 8 else limits.max
            out = np.clip(np.rint(dn), limits.min, top).astype(dtype)
            if self._nodata_in(limits.min, limits.max) and float(self.nodata or 0).is_integer():
                nodata = int(self.nodata or 0)
                out[out == nodata] = nodata + (1 if nodata < limits.max else -1)
            return out
        for band, encoding in zip(dn, self.encodings, strict=False):
            if encoding is not None:
                band[:] = encoding.keep_within(band)
        out = dn.astype(dtype)
        info = np.finfo(dtype)
        if self._nodata_in(float(info.min), float(info.max)):
            nodata_dn = float(dtype.type(self.nodata))
            # readers compare floats with some slack; half a millionth is beyond it
            step = max(abs(nodata_dn) * 5e-7, float(info.tiny))
            with np.errstate(over="ignore"):  # far ends of float64: infinitely far is far
                close = np.abs(dn - nodata_dn) < step
            out[close] = nodata_dn - step if nodata_dn > 0 else nodata_dn + step
        return out

    def _nodata_in(self, low: float, high: float) -> bool:
        return self.nodata is not None and bool(low <= self.nodata <= high)

    @staticmethod
    def _column(values: Sequence[float]) -> NDArray[np.float64]:
        return np.asarray(values, np.float64)[:, None, None]


#: Known ways of writing reflectance: scale and offset, by name.
#: Sources: ESA, Sentinel-2 Products Specification; USGS, Landsat Collection 2 Level-2 Science Product Guide;
#: NASA, HLS Product User Guide.
KNOWN: dict[str, tuple[float, float]] = {
    "s2-l2a": (1e-4, 0.0),
    "s2-l2a-0400": (1e-4, -0.1),
    "landsat-c2-l2": (2.75e-5, -0.2),
    "hls": (1e-4, 0.0),
    "reflectance": (1.0, 0.0),
    "percent": (1e-2, 0.0),
}
#: Fewer pixels than this say nothing about what their values mean.
FEW_PX = 100


def decide_codec(
    dtype: np.dtype[Any],
    descriptions: Sequence[str | None],
    scales: Sequence[float],
    offsets: Sequence[float],
    nodata: float | None,
    scale: float | None = None,
    offset: float | None = None,
    declared_by: str | None = None,
) -> Codec:
    """Decide how the restored bands are converted, and say why.

    Scale and offset are taken, each by itself, from the first that says it: the caller; the
    file; 8 bits are DN / 255; 16 bits under Sentinel-2 band names are DN / 10 000 (ESA,
    Sentinel-2 Products Specification, quantification value); floats are reflectance already.
    A scale that nobody says is asked for. A declared scale of 1 says nothing: it is what files
    have that declare none.

    Parameters
    ----------
    dtype : of the scene
    descriptions, scales, offsets : of the bands to restore; 1 and 0 where not declared
    nodata : DN or None
    scale, offset : the caller's word
    declared_by : which document the scales and offsets are from, in words; None: the scene

    Raises
    ------
    SceneError
        If nothing says what a DN means, or the numbers cannot be.
    """
    count = len(descriptions)
    if scale is not None:
        found, why = Formula((scale,) * count, (0.0,) * count), "as asked"
        if _declared(scales, offsets):
            found = Formula(found.scales, tuple(offsets))
    else:
        # an offset that the caller overrules has no say in what is asked back
        declared = offsets if offset is None else (0.0,) * count
        found, why = _formula_of_scene(dtype, descriptions, scales, declared)
        if declared_by is not None and any(s != 1 for s in scales):
            why = declared_by
    if offset is not None:
        found = Formula(found.scales, (offset,) * count)
        why = "as asked" if scale is not None else f"offset as asked, scale {why}"
    if not np.isfinite([*found.scales, *found.offsets]).all() or 0 in found.scales:
        raise SceneError(
            f"{found} has no inverse; give finite numbers and a scale other than 0, such as "
            "scale=0.0001, offset=0"
        )
    return Codec(found.scales, found.offsets, dtype.name, nodata, f"{found}, {why}")


@dataclass(frozen=True)
class Formula:
    """``reflectance = DN * scale + offset``, one pair of numbers per band."""

    scales: tuple[float, ...]
    offsets: tuple[float, ...]

    def __str__(self) -> str:
        several = len({*zip(self.scales, self.offsets, strict=True)}) > 1
        scale, offset = self.scales[0], self.offsets[0]
        divisor = 1 / scale if scale else 0.0
        whole = divisor > 1.5 and abs(divisor - round(divisor)) < 1e-6
        text = f"reflectance = DN / {divisor:.0f}" if whole else f"reflectance = DN * {scale:g}"
        if offset:
            text += f" {'-' if offset < 0 else '+'} {abs(offset):g}"
        return text + (" in the first band" if several else "")


def _declared(scales: Sequence[float], offsets: Sequence[float]) -> bool:
    return any(s != 1 for s in scales) or any(o != 0 for o in offsets)


def _formula_of_scene(
    dtype: np.dtype[Any],
    descriptions: Sequence[str | None],
    scales: Sequence[float],
    offsets: Sequence[float],
) -> tuple[Formula, str]:
    """What the scene itself says about its DN, and why we believe it."""
    if any(s != 1 for s in scales):
        return Formula(tuple(scales), tuple(offsets)), "as the scene declares"
    scale, why = _scale_by_kind(dtype, descriptions)
    found = Formula((scale,) * len(descriptions), tuple(offsets))
    if not any(offsets):
        return found, why
    if scale != 1 and (far := [o for o in offsets if 1 < abs(o) < np.inf]):
        raise SceneError(
            f"the scene declares an offset of {far[0]:g} and no scale, and no reflectance is off by "
            "more than 1: it may be in DN. Give both, such as scale=0.0001, offset=-0.1"
        )
    return found, f"offset as the scene declares, scale {why.split(';')[0]}"


def _scale_by_kind(dtype: np.dtype[Any], descriptions: Sequence[str | None]) -> tuple[float, str]:
    """The scale where none is declared, and why we believe it.

    Only ESA's own band names tell a radiometry: blue, green and red are bands of any sensor.
    """
    if dtype == np.uint8:
        return 1 / 255, "as for any 8-bit image"
    if dtype in (np.uint16, np.int16) and are_sentinel2(descriptions):
        return 1e-4, (
            "as for Sentinel-2 bands; products of baseline 04.00 and later have an offset, "
            "give offset=-0.1 unless your provider removed it"
        )
    if np.issubdtype(dtype, np.floating):
        return 1.0, f"{dtype.name} values are taken as reflectance"
    raise SceneError(
        f"nothing says what a {dtype.name} DN means in reflectance: the scene declares no scale and "
        "its bands are not named as Sentinel-2's. Give them, such as scale=0.0001, offset=0, or the "
        f'name of a known way, such as radiometry="landsat-c2-l2" (known: {", ".join(KNOWN)})'
    )


def is_scaled_already(
    dn: NDArray[Any], scales: Sequence[float], offsets: Sequence[float], nodata: float | None
) -> bool:
    """Whether floats are reflectance already, though they still carry the scale they were made with.

    xarray keeps attrs in arithmetic, so ``scene * scene.scale_factor`` still declares the scale.

    Parameters
    ----------
    dn : (C, H, W), some pixels
    scales, offsets : as declared, one per band
    """
    if not np.issubdtype(dn.dtype, np.floating) or not _declared(scales, offsets):
        return False
    pixels = dn.reshape(len(dn), -1)
    valid = np.isfinite(pixels).all(axis=0) & (pixels > -1).all(axis=0) & (pixels != 0).any(axis=0)
    if nodata is not None:
        valid &= (pixels != nodata).all(axis=0)
    if not valid.any():
        return False
    raw = pixels[:, valid].astype(np.float64)
    # as reflectance the values are those of ground and cloud, scaled they would be those of nothing
    if not 0.005 < np.percentile(raw, 99) <= MOST_REFLECTANCE:
        return False
    if all(scale == 1 for scale in scales):
        dark = raw + np.asarray(offsets)[:, None] < _NO_GROUND
        return bool((raw >= 0).mean() > 1 - _ODD_SHARE and dark.mean(axis=1).max() > _ODD_SHARE)
    scaled = raw * np.asarray(scales)[:, None]
    return bool(np.percentile(np.abs(scaled), 99) < _DARKER)


def is_too_bright(values: Floats, codec: Codec) -> bool:
    """Whether a tenth of some reflectance is beyond anything the Sun can light: DN, most likely."""
    real = values[np.isfinite(values)]
    return real.size > 0 and float(np.percentile(real, 90)) > codec.most


def check_values(dn: NDArray[Any], codec: Codec, where: str) -> None:
    """Refuse pixels that were taken for reflectance and cannot be.

    Parameters
    ----------
    dn : (C, H, W), some pixels of the restored bands
    where : they are, in words

    Raises
    ------
    SceneError
        If the upper end of the values is beyond anything the Sun can light, or nothing reflects anything.
    """
    values = codec.decode(dn)
    real = (dn != 0).any(axis=0) & np.isfinite(values).all(axis=0)
    if codec.nodata is not None:
        real &= (dn != codec.nodata).all(axis=0)
    values = values[:, real]
    if not values.size:
        return
    if is_too_bright(values, codec):
        top = float(np.percentile(values, 90))
        raise SceneError(
            f"a tenth of the reflectance of {where} is above {top:.4g}, and clouds reach about 1.2: "
            f"these look like DN ({codec.reason}). Give their scale, such as scale=0.0001, "
            "offset=0; if they stand for no data, say so, such as nodata=-9999"
        )
    # an offset that is added twice makes all of it negative; of integers `doubt_offset` tells that
    bright = float(np.percentile(values if dn.dtype.kind == "f" else np.abs(values), 99))
    if bright < LEAST_BRIGHT and values.shape[1] >= FEW_PX:
        raise SceneError(
            f"99 % of the reflectance of {where} is below {bright:.2g}, and no ground is as dark: these look "
            f"as if they had been scaled already ({codec.reason}). If the values are reflectance, say so: "
            'radiometry="reflectance"'
        )
