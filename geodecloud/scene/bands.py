"""Bands by name and wavelength: which band of a scene feeds which channel of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from geodecloud.errors import BandError

#: Central wavelength in nm of the Sentinel-2A MSI bands, in product order.
#: Source: ESA, Sentinel-2 Spectral Response Functions (S2-SRF), COPE-GSEG-EOPG-TN-15-0007.
SENTINEL2_NM: dict[str, float] = {
    "B01": 442.7,
    "B02": 492.4,
    "B03": 559.8,
    "B04": 664.6,
    "B05": 704.1,
    "B06": 740.5,
    "B07": 782.8,
    "B08": 832.8,
    "B8A": 864.7,
    "B09": 945.1,
    "B10": 1373.5,
    "B11": 1613.7,
    "B12": 2202.4,
}

#: Common names (STAC eo extension and everyday use) of the bands they mean.
_COMMON = {
    "COASTAL": "B01",
    "COASTALAEROSOL": "B01",
    "BLUE": "B02",
    "GREEN": "B03",
    "RED": "B04",
    "REDEDGE1": "B05",
    "REDEDGE2": "B06",
    "REDEDGE3": "B07",
    "NIR": "B08",
    "NIR1": "B08",
    "NIR08": "B8A",
    "NIRNARROW": "B8A",
    "NARROWNIR": "B8A",
    "NIR09": "B09",
    "CIRRUS": "B10",
    "SWIR16": "B11",
    "SWIR1": "B11",
    "SWIR22": "B12",
    "SWIR2": "B12",
}
_NUMBER = r"B(0?[1-9]|1[0-2]|8A)"
_RESOLUTION = r"(?:_[126]0M)?"
_SUFFIX = r"(?:\.(?:TIFF?|JP2))?"
#: ``B2``; ``B2, central wavelength 490 nm`` (GDAL), ``B02 (490 nm)``, ``B02 - blue``; ``B02_10m`` (STAC of the
#: Copernicus Data Space); ``S2A_B02`` and those of later satellites; ``T32TMT_20200101_B02_10m`` (ESA);
#: ``S2A_32TMT_20200101_0_L2A_B02`` (items of Element 84); names of files.
#: Nothing looser: Landsat's SR_B4 is another band, and MSK_B04 or B04_uncertainty is none.
_S2_NAME = re.compile(
    rf"(?:{_NUMBER}(?:,.*)?"
    r"|B(0[1-9]|1[0-2]|8A) (?:\(|- ).*"
    rf"|(?:S(?:ENTINEL)?[ -]?2[A-Z]?[_ -])?{_NUMBER}{_RESOLUTION}{_SUFFIX}"
    rf"|(?!\w*MSK_)(?:S2[A-Z]_\w+_)?T\d\d[A-Z]{{3}}_(?:\w+_)?{_NUMBER}{_RESOLUTION}{_SUFFIX}"
    rf"|S2[A-Z]_T?\d\d[A-Z]{{3}}_\d{{8}}(?:T\d{{6}})?_(?:\d+_)?(?:L[12][AC]_)?{_NUMBER}{_RESOLUTION}{_SUFFIX})"
)
#: The scene classification, by the names the bands beside it have.
_SCL_NAME = re.compile(
    rf"(?:S(?:ENTINEL)?[ -]?2[A-Z]?[_ -]|T\d\d[A-Z]{{3}}_(?:\w+_)?)?SCL{_RESOLUTION}"
)


def canonical_name(description: str | None) -> str | None:
    """Bring a band description to one spelling.

    ``b2``, ``B02``, ``B02_10m``, ``B2, central wavelength 490 nm``, ``S2C_B02``, ``blue`` and
    ``T32TMT_B02_10m`` are all ``B02``; ``scl`` and ``SCL_20m`` are ``SCL``. Any other name, such as Landsat's ``SR_B4`` or a bare ``Band 2``, comes back in upper
    case: it is not known to be a Sentinel-2 band. No name comes back as None.
    """
    if description is None or not description.strip():
        return None
    text = description.strip().upper()
    if found := _S2_NAME.fullmatch(text):
        number = next(group for group in found.groups() if group)
        return f"B{number.zfill(2)}"
    if _SCL_NAME.fullmatch(text):
        return "SCL"
    return _COMMON.get(re.sub(r"[ _-]", "", text), text)


def is_sentinel2_name(description: str | None) -> bool:
    """Whether a band is named as ESA names it: ``B02``, not ``blue``, which is a band of any sensor."""
    return description is not None and bool(_S2_NAME.fullmatch(description.strip().upper()))


def are_sentinel2(descriptions: Sequence[str | None]) -> bool:
    """Whether bands are Sentinel-2's: at least one is named as ESA does, the others commonly."""
    named = any(is_sentinel2_name(d) for d in descriptions)
    return named and all(canonical_name(d) in SENTINEL2_NM for d in descriptions)


def wavelength_nm(description: str | None) -> float | None:
    """Central wavelength in nm of a Sentinel-2 or common band name, None if unknown."""
    name = canonical_name(description)
    return None if name is None else SENTINEL2_NM.get(name)


def known_wavelength_nm(name: str) -> float:
    """Central wavelength in nm of a band that must have one.

    Raises
    ------
    BandError
        If it has none.
    """
    wavelength = wavelength_nm(name)
    if wavelength is None:
        raise BandError(f"band {name!r} has no known wavelength; known: {' '.join(SENTINEL2_NM)}")
    return wavelength


def match_bands(descriptions: Sequence[str | None], wanted: Sequence[str]) -> list[int]:
    """Find the 1-based band of each wanted name.

    Parameters
    ----------
    descriptions : the scene's band descriptions, None where a band has none
    wanted : names or 1-based indexes, such as ``["B04", "3"]``

    Returns
    -------
    list of int, 1-based, in the order of `wanted`

    Raises
    ------
    BandError
        If a wanted band is missing, exists twice, or is named twice.
    """
    names = [canonical_name(d) for d in descriptions]
    found = []
    for want in wanted:
        if re.fullmatch(r"[+-]?\d+", want.strip()):
            index = int(want)
            if not 1 <= index <= len(names):
                raise BandError(
                    f"band {index} does not exist: the scene has bands 1 to {len(names)}"
                )
            found.append(index)
            continue
        name_wanted = canonical_name(want)
        hits = [i + 1 for i, name in enumerate(names) if name == name_wanted is not None]
        if not hits:
            raise BandError(
                f"no band is described as {want!r}; the scene's bands are {describe(descriptions)}. "
                'Name them by 1-based index instead, such as bands=["1", "2", "3", "4"]'
            )
        if len(hits) > 1:
            raise BandError(
                f"bands {hits} are all described as {want!r}; choose one by its 1-based index"
            )
        found += hits
    doubles = sorted({i for i in found if found.count(i) > 1})
    if doubles:
        raise BandError(f"band {doubles[0]} is asked for more than once in {','.join(wanted)}")
    return found


def parse_band_list(text: str) -> list[str]:
    """Split ``B02,B03,B04`` or ``3,2,1``; an empty list is an error, not all bands."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise BandError(
            f"{text!r} is not a list of bands; write descriptions or 1-based indexes, "
            'such as bands=["B02", "B03", "B04", "B08"] or bands=["3", "2", "1"]'
        )
    return parts


def describe(descriptions: Sequence[str | None]) -> str:
    """One line for messages: ``1=B02, 2=B03, 3=(no description)``."""
    return ", ".join(f"{i}={d or '(no description)'}" for i, d in enumerate(descriptions, start=1))
