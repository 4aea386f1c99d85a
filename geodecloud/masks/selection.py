"""What a caller asks of a mask file: which band, and which of its values are cloud.

``FILE``, ``FILE:BAND``, ``FILE:>50``, ``FILE:cloud>50``, ``FILE:2=3,8,9``, ``FILE:QA_PIXEL&24``: the
band by its description or 1-based number; then a comparison (``>``, ``>=``, ``<``, ``<=``, ``=``,
``!=``) or bits of which one must be set (``&``); numbers may be lists and ranges, ``3,8-10``.
"""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.errors import OptionError
from geodecloud.options import MASK_WORDS
from geodecloud.raster.reader import absolute
from geodecloud.scene.address import is_remote

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
#: No slash in the band: what follows the colon of ``https://`` is no condition.
_CONDITION = re.compile(
    r"(?P<band>[^<>=!&:/\\?]*)(?P<sign>>=|<=|!=|==|[<>=&])(?P<numbers>[^<>=!&]*)"
)
_BAND = re.compile(r"[\w .-]+")
_RANGE = re.compile(rf"(?P<low>{_NUMBER})(?:-(?P<high>\d+\.?\d*))?")
_RASTER = re.compile(r"\.(?:tiff?|jp2|vrt|img|nc|hdf|h5|gz|zip)$", re.IGNORECASE)

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True)
class Condition:
    """Which values are cloud; travels to other processes.

    Attributes
    ----------
    sign : ">", ">=", "<", "<=", "=", "!=" or "&"
    ranges : numbers compared with, as (low, high); a single number is both
    """

    sign: str
    ranges: tuple[tuple[float, float], ...]

    def holds(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Where values (...) fulfil it."""
        first = self.ranges[0][0]
        if self.sign in _COMPARE:
            return np.asarray(_COMPARE[self.sign](values, first), bool)
        if self.sign == "&":
            with np.errstate(invalid="ignore"):  # what is no whole number has no bits
                bits = values.astype(np.int64) & int(first)
            return np.asarray((bits != 0) & np.isfinite(values), bool)
        listed = np.zeros(values.shape, bool)
        for low, high in self.ranges:
            listed |= (values >= low) & (values <= high)
        return ~listed if self.sign == "!=" else listed

    def __str__(self) -> str:
        numbers = (f"{a:g}" if a == b else f"{a:g}-{b:g}" for a, b in self.ranges)
        return f"{self.sign}{','.join(numbers)}"


@dataclass(frozen=True)
class Selection:
    """A mask file as asked for.

    Attributes
    ----------
    path : file, address or GDAL's name of a subdataset
    band : description or 1-based number; None: not said
    condition : None: what the file is known as, or else what is not 0
    """

    path: str
    band: str | None = None
    condition: Condition | None = None

    def __str__(self) -> str:
        asked = f"{self.band or ''}{self.condition or ''}"
        return f"{self.path}:{asked}" if asked else self.path


def parse_selection(text: str | Path) -> Selection:
    r"""Part a mask file from what is asked of it.

    A file whose name is the whole text is that file. Colons of drives, addresses and GDAL's names
    (``C:\mask.tif``, ``s3://bucket/mask.tif``, ``NETCDF:file.nc:scl``) are parts of the name.

    Raises
    ------
    OptionError
        If a condition is begun and makes no sense.
    """
    whole = str(text)
    path, colon, asked = whole.rpartition(":")
    if not colon or not path or os.path.exists(whole):
        return Selection(whole)
    if found := _CONDITION.fullmatch(asked):
        condition = Condition(found["sign"].replace("==", "="), _ranges(found, whole))
        return Selection(path, found["band"].strip() or None, condition)
    is_file = os.path.isfile(path) or (is_remote(path) and _RASTER.search(path))
    if is_file and _BAND.fullmatch(asked):
        return Selection(path, asked.strip())
    return Selection(whole)


def mask_file(text: str | Path) -> str:
    """The file of a mask, without what is asked of it."""
    return parse_selection(text).path


def absolute_selection(text: str | Path) -> str:
    """The same mask from any working directory."""
    asked = parse_selection(text)
    return str(Selection(absolute(asked.path), asked.band, asked.condition))


def _ranges(found: re.Match[str], whole: str) -> tuple[tuple[float, float], ...]:
    ranges = []
    for part in found["numbers"].split(","):
        numbers = _RANGE.fullmatch(part.strip())
        if numbers is None:
            raise OptionError(
                f"the mask {whole!r} ends in no number: {part.strip()!r}; write it like "
                "mask.tif:cloud>50 or mask.tif:2=3,8-10"
            )
        low = float(numbers["low"])
        ranges.append((low, low if numbers["high"] is None else float(numbers["high"])))
    single = len(ranges) == 1 and ranges[0][0] == ranges[0][1]
    if found["sign"] not in ("=", "==", "!=") and not single:
        raise OptionError(
            f"the mask {whole!r} compares by {found['sign']!r} with several numbers; lists go with = "
            "and !=, such as mask.tif:2=3,8-10"
        )
    return tuple(ranges)


def mask_path(mask: str | Path) -> str | None:
    """The file of a mask as asked for; None: the mask is a word such as "auto"."""
    return None if str(mask) in MASK_WORDS else str(mask_file(mask))
