"""Telling which known classification a mask file is, by its names and by some of its values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.errors import OptionError, SceneError
from geodecloud.masks.classes import KINDS, Meaning, classify
from geodecloud.masks.selection import Condition, Selection
from geodecloud.scene.address import without_query

#: Bands of Planet's UDM2 in the file's order, and other names of them.
UDM2_BANDS = (
    "clear",
    "snow",
    "shadow",
    "light_haze",
    "heavy_haze",
    "cloud",
    "confidence",
    "unusable",
)
_UDM2_ALIASES = {"haze": "light_haze", "cloud_shadow": "shadow"}
#: Kinds in the order in which names are held against them.
_ORDER = (
    "scl",
    "qa_pixel",
    "hls_fmask",
    "fmask",
    "thick_thin_shadow",
    "cloud_255",
    "probability",
    "qa60",
    "clear",
)
#: ``s2cloudless_prob``, ``cloudprobability``; CLP and CLD of Sentinel Hub; MSK_CLDPRB of ESA.
_PROBABILITY = re.compile(r"\w*prob(?:s|ability|abilities)?|clp|cld|cldprb")
#: ``clear``, ``clear sky probability``: with other words it may be a cleared scene.
_OF_CLEAR = {"clear", "sky", "mask", "prob", "probability", "confidence", "score", "percent"}
#: More values than these are not those of a mask of two.
_FEW_VALUES = 2


@dataclass(frozen=True)
class MaskReader:
    """How a mask file is read; travels to other processes.

    Attributes
    ----------
    bands : 1-based, in the order the kind wants them; 0 where the file lacks one
    kind : key of `geodecloud.masks.classes.KINDS`
    condition : of the caller; it then decides alone
    why : how the kind was known, in words; empty: nothing was known
    """

    bands: tuple[int, ...]
    kind: str = "nonzero"
    condition: Condition | None = None
    why: str = ""

    @property
    def legend(self) -> str:
        """What is taken for cloud, in words."""
        if self.condition is not None:
            return f"values {self.condition} are cloud"
        return f"{KINDS[self.kind].title}: {KINDS[self.kind].legend}"

    def read(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """The meanings (...) of the values (band, ...) of `bands`; masked ones are no data."""
        if KINDS[self.kind].bands and self.condition is None:
            return classify(values, self.kind)
        if self.condition is None:
            return classify(values[0], self.kind)
        plain = np.ma.getdata(values[0])
        found = np.where(self.condition.holds(plain), Meaning.CLOUD, Meaning.GROUND)
        missing = np.ma.getmaskarray(values[0])
        if np.issubdtype(plain.dtype, np.floating):
            missing = missing | np.isnan(plain)
        return np.where(missing, Meaning.NODATA, found).astype(np.uint8)


def recognise(
    asked: Selection, descriptions: Sequence[str | None], sample: NDArray[Any]
) -> MaskReader:
    """How a mask is to be read.

    Parameters
    ----------
    asked : the file and what the caller says of it
    descriptions : of the file's bands
    sample : some of its values (band, N); masked where there are none

    Raises
    ------
    SceneError
        If a band is asked for that the file has not.
    OptionError
        If a probability has no known range.
    """
    band = None if asked.band is None else _find_band(asked, descriptions)
    if asked.condition is not None:
        return MaskReader((band or 1,), condition=asked.condition)
    if band is None:
        if several := _of_several_bands(asked, descriptions):
            return several
        band = _likeliest_band(descriptions)
    names = [descriptions[band - 1] or ""]
    if asked.band is None or not names[0]:
        names.append(_stem(asked.path))
    values = np.unique(np.ma.compressed(sample[band - 1]))
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    for name in names:
        for kind in _by_name(name):
            if (exact := _fit(kind, values, asked)) is not None:
                return MaskReader((band,), exact, why=f"by the name {name!r}")
    known = _by_values(values, np.ma.compressed(sample[band - 1]))
    return MaskReader((band,), known or "nonzero", why="by its values" if known else "")


def many_values(sample: NDArray[Any]) -> str | None:
    """The values (N) of something taken for a mask, where they are more than a mask has, in words."""
    values = np.unique(np.ma.compressed(sample))
    if values.size <= _FEW_VALUES:
        return None
    shown = ", ".join(f"{value:g}" for value in values[:6])
    return f"{values.size} values ({shown}{', ...' if values.size > 6 else ''})"


def _find_band(asked: Selection, descriptions: Sequence[str | None]) -> int:
    name = str(asked.band)
    if name.isdecimal() and 1 <= int(name) <= len(descriptions):
        return int(name)
    hits = [i for i, d in enumerate(descriptions, start=1) if _plain(d or "") == _plain(name)]
    if len(hits) != 1:
        there = ", ".join(f"{i}={d or '(no name)'}" for i, d in enumerate(descriptions, start=1))
        how = "has no band" if not hits else "has several bands"
        raise SceneError(f"mask {asked.path} {how} {name!r}; its bands are {there}")
    return hits[0]


def _likeliest_band(descriptions: Sequence[str | None]) -> int:
    """The band whose name is a known classification's; the first where none is."""
    ranks = [min(map(_ORDER.index, _by_name(name)), default=None) for name in descriptions]
    known = [(rank, band) for band, rank in enumerate(ranks, start=1) if rank is not None]
    return min(known, default=(0, 1))[1]


def _of_several_bands(asked: Selection, descriptions: Sequence[str | None]) -> MaskReader | None:
    """A classification whose meaning lies in several bands; None: it is none of the known."""
    plain = [_plain(name or "") for name in descriptions]
    names = [_UDM2_ALIASES.get(name, name) for name in plain]
    stem = _stem(asked.path)
    if not any(names) and len(names) == len(UDM2_BANDS) and "udm2" in _words(stem):
        names = list(UDM2_BANDS)
    if {"clear", "cloud"} <= set(names) and len(set(names) & set(UDM2_BANDS)) > 2:
        bands = tuple(names.index(b) + 1 if b in names else 0 for b in KINDS["udm2"].bands)
        return MaskReader(bands, "udm2", why="by the names of its bands")
    if len(names) == 3 and "MSK_CLASSI" in stem.upper():
        return MaskReader((1, 2, 3), "msk_classi", why="by its name")
    return None


def _plain(name: str) -> str:
    return re.sub(r"[ -]+", "_", name.strip().lower())


def _stem(path: str) -> str:
    """The last part of a path or of GDAL's name of a subdataset, without its suffixes."""
    last = re.split(r"[/\\:]", without_query(Path(path).as_posix()).strip('"'))[-1]
    return re.sub(r"\.(?:tiff?|jp2|vrt|img|nc|gz|zip)\b", "", last, flags=re.IGNORECASE)


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", name.lower())


def _by_name(name: str | None) -> list[str]:
    """Kinds a name speaks for."""
    words = _words(name or "")
    text = "_".join(words)
    found = {
        "scl": "scl" in words,
        "qa_pixel": "qa_pixel" in text or "pixel_qa" in text,
        "hls_fmask": "fmask" in text,
        "fmask": "fmask" in text,
        "thick_thin_shadow": bool({"ocm", "omnicloudmask", "cloudsen12"} & set(words)),
        "cloud_255": "clm" in words,
        "probability": any(_PROBABILITY.fullmatch(word) for word in words)
        and not re.search("snow|snw|clear", text),
        "qa60": "qa60" in words,
        "clear": ("clear" in words and set(words) <= _OF_CLEAR) or text in ("cs", "cs_cdf"),
    }
    return [kind for kind in _ORDER if found[kind]]


def _fit(kind: str, values: NDArray[Any], asked: Selection) -> str | None:
    """The kind as its values have it; None where they speak against it."""
    if values.size == 0:
        return None if kind in ("clear", "probability") else kind
    low, high, whole = values.min(), values.max(), bool((values == np.rint(values)).all())
    if kind in ("clear", "probability"):
        return _range(kind, values, asked)
    limits = {"scl": 11, "fmask": 4, "thick_thin_shadow": 3, "hls_fmask": 255, "cloud_255": 1}
    given = values[values != 255] if kind in ("fmask", "thick_thin_shadow", "cloud_255") else values
    if not whole or low < 0 or (given.size and given.max() > limits.get(kind, 65535)):
        return None
    if kind == "hls_fmask" and set(values.tolist()) <= {0, 1, 2, 3, 4, 255}:
        # both fit; only the classes have odd numbers, and HLS names its files
        return None if not _stem(asked.path).upper().startswith("HLS") else kind
    if kind == "qa_pixel" and not (_is_qa_pixel(values) or high <= 1):
        return None
    if kind == "qa60" and not set(values.tolist()) <= {0, 1024, 2048, 3072}:
        return None
    return kind


def _range(kind: str, values: NDArray[Any], asked: Selection) -> str:
    """The kind of a probability, by the range of its values."""
    high = values[values != 255].max(initial=0)
    if high <= 1:
        return f"{kind}_1"
    if high <= 100 and "clp" not in _words(_stem(asked.path)):
        return f"{kind}_100"
    if high <= 255 and kind == "probability":
        return f"{kind}_255"
    sign = "<" if kind == "clear" else ">"
    raise OptionError(
        f"the mask {asked.path} looks like a probability, and its values reach {high:g}: from which "
        f'on is it cloud? Such as mask="{asked.path}:{asked.band or ""}{sign}{high / 2:g}"'
    )


def _by_values(values: NDArray[Any], pixels: NDArray[Any]) -> str | None:
    """A classification whose values are like no other's; None: they could be anything."""
    if values.size < 2 or not (values == np.rint(values)).all() or values.min() < 0:
        return None
    if _is_qa_pixel(values):
        return "qa_pixel"
    numbers = set(values.astype(int).tolist())
    if len(numbers) > 1 and numbers <= {0, 1024, 2048, 3072}:
        return "qa60"
    # numbered clouds, 1, 2, 3, ... on a ground of 0, are no scene classification: there 0 is no data
    ground = {4, 5, 6, 7}
    has_ground = np.isin(pixels, [*ground]).sum() > (pixels == 0).sum()
    if numbers <= set(range(12)) and numbers & {5, 7, 9, 11} and numbers & ground and has_ground:
        return "scl"
    return None


def _is_qa_pixel(values: NDArray[Any]) -> bool:
    """Whether each value has the confidences that Collection 2 writes with any pixel but fill."""
    numbers = values[values > 1].astype(np.int64)
    if numbers.size == 0 or numbers.max() > 65535:
        return False
    cloud, shadow, snow, cirrus = ((numbers >> bit) & 3 for bit in (8, 10, 12, 14))
    return bool(
        (cloud > 0).all() and (shadow % 2).all() and (snow % 2).all() and (cirrus != 2).all()
    )
