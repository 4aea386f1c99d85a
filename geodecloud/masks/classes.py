"""What the values of known classifications mean: ground, cloud, shadow, snow, or no data.

`classify` turns the values of a classification into `Meaning`; `clouds_of` says which of them a
mask takes for cloud. Both work on arrays of any shape, so that masks of scenes and of other dates
are read by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.errors import OptionError

#: What a mask may know of a pixel: cloud or shadow, or cloud that hides the ground.
CLOUD, HIDING = 1, 2


class Meaning(IntEnum):
    """What a classification says of a pixel.

    `CLOUD` is cloud that may let ground through, or of which nothing is said; `OPAQUE` is cloud
    that hides the ground.
    """

    GROUND = 0
    CLOUD = 1
    OPAQUE = 2
    SHADOW = 3
    SNOW = 4
    NODATA = 5


#: Indexed by `Meaning`.
_CLOUD_OF = np.array([0, CLOUD, HIDING, CLOUD, 0, 0], np.uint8)

#: From this probability on a pixel is cloud.
PROBABLE = 0.5
#: Stands for no data in 8-bit rasters of percentages.
_NO_PERCENT = 255


@dataclass(frozen=True)
class Kind:
    """A known classification.

    Attributes
    ----------
    name : for `classify`
    title : for people
    legend : which values count, in words
    read : turns values into meanings; see `classify` for their shapes
    bands : names of the bands it is read from, in this order; empty: from one band
    """

    name: str
    title: str
    legend: str
    read: Callable[[NDArray[Any]], NDArray[np.uint8]] = field(repr=False)
    bands: tuple[str, ...] = ()


def classify(values: Any, kind: str) -> NDArray[np.uint8]:
    """What the values of a classification mean.

    Parameters
    ----------
    values : numpy array (..., y, x); for a kind of several bands (band, ..., y, x). NaN and masked
        values of a masked array are no data
    kind : a key of `KINDS`, such as "scl" or "qa_pixel"

    Returns
    -------
    uint8 array (..., y, x) of `Meaning`

    Raises
    ------
    OptionError
        If there is no such kind, or it needs other bands.
    """
    if kind not in KINDS:
        raise OptionError(f"classification {kind!r} is unknown; known: {', '.join(KINDS)}")
    known = KINDS[kind]
    if known.bands and len(values) != len(known.bands):
        raise OptionError(
            f"{known.title} is read from {len(known.bands)} bands ({', '.join(known.bands)}), and "
            f"{len(values)} are given"
        )
    plain = np.ma.getdata(values)
    missing = np.ma.getmaskarray(values)
    if np.issubdtype(plain.dtype, np.floating):
        missing = missing | ~np.isfinite(plain)
        plain = np.where(missing, 0, plain)
    meanings = known.read(plain)
    meanings[missing.all(axis=0) if known.bands else missing] = Meaning.NODATA
    return meanings


def clouds_of(meanings: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Which pixels a mask takes for cloud: 0, `CLOUD` (cloud or its shadow) or `HIDING`.

    Snow is ground.
    """
    return _CLOUD_OF[meanings]


def _table(
    meanings: Mapping[int, Meaning], other: Meaning = Meaning.GROUND
) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """A reader of classes: each number has one meaning."""

    def read(values: NDArray[Any]) -> NDArray[np.uint8]:
        found = np.full(values.shape, other, np.uint8)
        for number, meaning in meanings.items():
            found[values == number] = meaning
        return found

    return read


def _bits(
    meanings: Sequence[tuple[int, Meaning]], nodata: int | None = None
) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """A reader of bits, by falling precedence; `nodata` is a whole value."""

    def read(values: NDArray[Any]) -> NDArray[np.uint8]:
        numbers = values.astype(np.int64)  # some software writes them as floats
        found = np.zeros(values.shape, np.uint8)
        for bit, meaning in reversed(meanings):
            found[(numbers >> bit) & 1 == 1] = meaning
        if nodata is not None:
            found[numbers == nodata] = Meaning.NODATA
        return found

    return read


def _probability(whole: float, is_clear: bool = False) -> Callable[..., NDArray[np.uint8]]:
    """A reader of probabilities of cloud, or of clear sky, of which `whole` is certainty."""

    def read(values: NDArray[Any]) -> NDArray[np.uint8]:
        limit = PROBABLE * whole
        cloudy = values < limit if is_clear else values >= limit
        found = np.where(cloudy, Meaning.CLOUD, Meaning.GROUND).astype(np.uint8)
        if whole < _NO_PERCENT:
            found[values == _NO_PERCENT] = Meaning.NODATA
        return found

    return read


def _planes(
    meanings: Sequence[tuple[int, Meaning]],
) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """A reader of bands that are 1 where something is, by falling precedence."""

    def read(values: NDArray[Any]) -> NDArray[np.uint8]:
        found = np.zeros(values.shape[1:], np.uint8)
        for band, meaning in reversed(meanings):
            found[values[band] != 0] = meaning
        return found

    return read


def _udm2(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Planet's bands. Where all of them are 0, clear too, nothing was imaged."""
    found = _planes(_UDM2)(values)
    found[(found == Meaning.GROUND) & (values[0] == 0)] = Meaning.NODATA
    return found


_UDM2 = (
    (1, Meaning.OPAQUE),
    (2, Meaning.SHADOW),
    (3, Meaning.CLOUD),
    (4, Meaning.CLOUD),
    (5, Meaning.SNOW),
)


def _kinds(*kinds: Kind) -> dict[str, Kind]:
    return {kind.name: kind for kind in kinds}


#: The classifications that can be read, by name.
#: Sources: ESA, Sentinel-2 L2A ATBD (SCL) and L1C product specification (QA60, MSK_CLASSI); USGS,
#: Landsat 8-9 Collection 2 Level 2 Science Product Guide, table 6-2; NASA, HLS User Guide, table 9;
#: Zhu and Woodcock (2012), Fmask; Planet, UDM2 specification; Wright et al. (2025), OmniCloudMask.
KINDS: dict[str, Kind] = _kinds(
    Kind(
        "scl",
        "the scene classification (SCL) of Sentinel-2",
        "3 shadow, 8 and 9 cloud, 10 cirrus; 11 snow is ground, 0 no data",
        _table(
            {
                0: Meaning.NODATA,
                3: Meaning.SHADOW,
                8: Meaning.CLOUD,
                9: Meaning.OPAQUE,
                10: Meaning.CLOUD,
                11: Meaning.SNOW,
            }
        ),
    ),
    Kind(
        "qa_pixel",
        "QA_PIXEL of Landsat Collection 2",
        "bits 1 dilated cloud, 2 cirrus, 3 cloud, 4 shadow; 5 snow is ground, 0 no data",
        _bits(
            [
                (0, Meaning.NODATA),
                (3, Meaning.OPAQUE),
                (4, Meaning.SHADOW),
                (2, Meaning.CLOUD),
                (1, Meaning.CLOUD),
                (5, Meaning.SNOW),
            ]
        ),
    ),
    Kind(
        "hls_fmask",
        "Fmask of HLS",
        "bits 0 cirrus, 1 cloud, 2 beside cloud or shadow, 3 shadow; 4 snow is ground, 255 no data",
        _bits(
            [
                (1, Meaning.OPAQUE),
                (3, Meaning.SHADOW),
                (0, Meaning.CLOUD),
                (2, Meaning.CLOUD),
                (4, Meaning.SNOW),
            ],
            nodata=255,
        ),
    ),
    Kind(
        "fmask",
        "the classes of Fmask",
        "2 shadow, 4 cloud; 3 snow is ground, 255 no data",
        _table(
            {2: Meaning.SHADOW, 3: Meaning.SNOW, 4: Meaning.OPAQUE, 255: Meaning.NODATA},
        ),
    ),
    Kind(
        "qa60",
        "QA60 of Sentinel-2",
        "bits 10 opaque cloud, 11 cirrus",
        _bits([(10, Meaning.OPAQUE), (11, Meaning.CLOUD)]),
    ),
    Kind(
        "thick_thin_shadow",
        "the classes of OmniCloudMask and CloudSEN12",
        "1 thick cloud, 2 thin cloud, 3 shadow",
        _table(
            {
                1: Meaning.OPAQUE,
                2: Meaning.CLOUD,
                3: Meaning.SHADOW,
                99: Meaning.NODATA,
                255: Meaning.NODATA,
            }
        ),
    ),
    Kind(
        "cloud_255",
        "a cloud mask in which 255 is no data",
        "1 cloud, 255 no data",
        _table({1: Meaning.CLOUD, 255: Meaning.NODATA}),
    ),
    Kind("probability_1", "a probability of cloud, 0-1", "0.5 and above", _probability(1)),
    Kind("probability_100", "a probability of cloud, 0-100", "50 and above", _probability(100)),
    Kind("probability_255", "a probability of cloud, 0-255", "127.5 and above", _probability(255)),
    Kind("clear_1", "clear sky, 0-1", "below 0.5 is cloud", _probability(1, is_clear=True)),
    Kind("clear_100", "clear sky, 0-100", "below 50 is cloud", _probability(100, is_clear=True)),
    Kind(
        "udm2",
        "UDM2 of Planet",
        "bands cloud, light_haze, heavy_haze, shadow; snow is ground, what is not imaged no data",
        _udm2,
        ("clear", "cloud", "shadow", "light_haze", "heavy_haze", "snow"),
    ),
    Kind(
        "msk_classi",
        "MSK_CLASSI of Sentinel-2 level 1C",
        "bands 1 opaque cloud, 2 cirrus; 3 snow is ground",
        _planes([(0, Meaning.OPAQUE), (1, Meaning.CLOUD), (2, Meaning.SNOW)]),
        ("opaque", "cirrus", "snow"),
    ),
    Kind(
        "nonzero",
        "a mask",
        "what is not 0",
        lambda values: np.where(values != 0, Meaning.CLOUD, Meaning.GROUND).astype(np.uint8),
    ),
)
