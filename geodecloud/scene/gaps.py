"""Pixels that hold no measurement, though no nodata number of the file says so.

Earth Engine leaves masked pixels as 0, SNAP and others as -3.4e38, older tools as -9999, and the file
does not declare it. Taken for ground, such numbers are written into and spoil all ground within the
network's reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.scene.reflectance import LEAST_REFLECTANCE, Codec, is_too_bright

Bool = NDArray[np.bool_]

#: A number repeated in all bands, brighter than any ground, is taken for a gap from this share on.
_SHARE = 0.005
_BRIGHT = 2.0


@dataclass(frozen=True)
class Gaps:
    """What is no measurement, in DN of the restored bands; the same for every chunk of a scene.

    Attributes
    ----------
    low, high : DN of each band below and above which there is no reflectance; empty: no limits
    zeros : whether a pixel with 0 in all of these bands is a gap
    numbers : further numbers that stand for gaps where all of these bands have them
    implied : whether the scene's nodata number is known from what the scene is, and not from its own word
    told : whether a sample of the pixels had some, and it was said
    """

    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    zeros: bool = False
    numbers: tuple[float, ...] = ()
    implied: bool = False
    told: bool = False

    def find(self, dn: NDArray[Any]) -> Bool:
        """Which values (C, H, W) are no measurement; NaN and infinity, which never are, are not looked for."""
        found = np.zeros(dn.shape, bool)
        for band, low, high, out in zip(dn, self.low, self.high, found, strict=False):
            for limit, beyond in ((low, np.less), (high, np.greater)):
                if _can_be(dn.dtype, limit, beyond):
                    with np.errstate(invalid="ignore"):
                        out |= beyond(band, np.float64(limit))
        if self.low and dn.dtype.kind == "f":
            found &= np.isfinite(dn)
        for number in (*self.numbers, *((0.0,) if self.zeros else ())):
            if dn.dtype.kind in "ui" and float(number).is_integer():
                number = int(number)  # a float would have all numbers compared as floats
            found |= (dn == number).all(axis=0)
        return found

    def undeclared(self, dn: NDArray[Any], nodata: float | None) -> Bool:
        """Which values (C, H, W) count as no data though the scene does not say so; `nodata`: of its codec."""
        found = self.find(dn)
        if nodata is not None:
            found = found | (dn == nodata) if self.implied else found & (dn != nodata)
        return found

    def with_bright(self, codec: Codec) -> Gaps:
        """The rules without the limit to brightness: DN taken for reflectance must not pass for gaps."""
        low, high = _limits(codec, np.inf)
        return replace(self, low=low, high=high) if self.low else self


def _can_be(dtype: np.dtype[Any], limit: float, beyond: np.ufunc) -> bool:
    """Whether numbers of a dtype can lie beyond a limit."""
    if dtype.kind not in "ui":
        return True
    info = np.iinfo(dtype)
    return bool(beyond(float(info.min), limit) or beyond(float(info.max), limit))


def find_missing(dn: NDArray[Any], nodata: float | None) -> Bool:
    """Which values (C, H, W) stand for no data: the number, and of floats what is not finite."""
    missing = np.zeros(dn.shape, bool)
    if nodata is not None and np.isfinite(nodata):
        missing = dn == nodata
    if np.issubdtype(dn.dtype, np.floating):
        missing |= ~np.isfinite(dn)
    return missing


def find_data(
    dn: NDArray[Any],
    valid: Bool | None,
    nodata: float | None,
    gaps: Gaps,
    channels: Sequence[int],
    alpha: int | None,
) -> tuple[Bool, Bool]:
    """Pixels (H, W) with data in any band, and pixels with data in all restored bands.

    Parameters
    ----------
    dn : (C, H, W)
    valid : (H, W), what a mask says; None: it says nothing
    nodata : number that stands for no data, or None
    gaps : further numbers that are no measurements
    channels : 0-based bands that are restored
    alpha : 0-based band that is a mask and no data, or None
    """
    missing = find_missing(dn, nodata)
    channels = list(channels)
    holes = gaps.find(dn[channels])
    data_bands = [i for i in range(len(dn)) if i != alpha] or [0]
    has_data: Bool = ~(np.all(missing[data_bands], axis=0) | np.all(holes, axis=0))
    usable: Bool = ~np.any(missing[channels] | holes, axis=0)
    if valid is not None:
        has_data, usable = has_data & valid, usable & valid
    return has_data, usable


def gap_rules(
    codec: Codec, sample: NDArray[Any] | None, implied: bool = False, is_picture: bool = True
) -> Gaps:
    """The rules for a scene of which nobody said that all its numbers are measurements.

    Parameters
    ----------
    sample : (C, H, W) DN of the restored bands; None: nothing may be read yet, and repeated numbers are
        not looked for. Where a tenth of it is too bright for reflectance, these are no gaps but DN of
        which nobody knows the scale, and what is too bright is none
    implied : see `Gaps`
    is_picture : whether 8 bits are those of a picture, of which every number may be one; False: they are
        reflectance in few bits
    """
    if np.dtype(codec.dtype) == np.uint8:
        return Gaps(zeros=not is_picture)
    low, high = _limits(codec, codec.most)
    numbers = _largest(codec)
    if sample is None:
        return Gaps(low, high, True, numbers, implied)
    numbers = tuple(dict.fromkeys((*numbers, *repeated_numbers(codec, sample))))
    rules = Gaps(low, high, True, numbers, implied)
    open_above = rules.with_bright(codec)
    missing = open_above.find(sample) | (sample == codec.nodata)
    usable = sample[:, ~missing.any(axis=0)][:, None]
    return open_above if is_too_bright(codec.decode(usable), codec) else rules


def _limits(codec: Codec, most: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """DN of each band between which reflectance lies."""
    ends = [
        sorted(((LEAST_REFLECTANCE - offset) / scale, (most - offset) / scale))
        for scale, offset in zip(codec.scales, codec.offsets, strict=True)
    ]
    low, high = zip(*ends, strict=True)
    return low, high


def _largest(codec: Codec) -> tuple[float, ...]:
    """The largest number of the dtype, where it is brighter than any ground: where all bands have it, it is a fill."""
    dtype = np.dtype(codec.dtype)
    if dtype.kind not in "ui":
        return ()
    largest = float(np.iinfo(dtype).max)
    column = np.full((len(codec.scales), 1, 1), largest)
    return (largest,) if largest != codec.nodata and codec.decode(column).min() > _BRIGHT else ()


def repeated_numbers(codec: Codec, sample: NDArray[Any], least: int = 2) -> tuple[float, ...]:
    """Numbers that whole pixels of a sample share, and that are brighter than any ground.

    Parameters
    ----------
    sample : (C, H, W) DN of the restored bands
    least : so many pixels at least
    """
    pixels = sample.reshape(len(sample), -1)
    same = (pixels == pixels[0]).all(axis=0) & np.isfinite(pixels[0])
    numbers, counts = np.unique(pixels[0, same], return_counts=True)
    often = numbers[counts >= max(least, _SHARE * pixels.shape[1])]
    if not often.size:
        return ()
    values = codec.decode(np.repeat(often[None, None], len(sample), axis=0))[:, 0]
    bright = values.min(axis=0) > _BRIGHT
    return tuple(float(number) for number in often[bright] if number != codec.nodata)


def describe_gaps(pixels: NDArray[Any], undeclared: Bool, where: str) -> str:
    """Which numbers are taken for no data though nothing declares them, and what to type.

    Parameters
    ----------
    pixels, undeclared : (C, H, W)
    where : whose pixels they are, in words
    """
    numbers, counts = np.unique(pixels[undeclared], return_counts=True)
    number = numbers[counts.argmax()]
    share = undeclared.any(axis=0).mean()
    return (
        f"{100 * share:.3g} % of {where} hold numbers that are no measurements (most often "
        f"{number:g}), and nothing declares them as no data. They are left as they are and kept from the "
        f"ground beside them. Say so with nodata={number:g}; or, if all numbers are measurements, "
        'nodata="none"'
    )
