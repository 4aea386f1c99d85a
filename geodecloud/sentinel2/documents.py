"""What the documents of a Sentinel-2 product say: XML of ESA, STAC Item of a provider.

The offset of DN is taken from the documents, never from the date: reprocessed products of
old scenes have it, and some providers have taken it away.

References
----------
ESA, Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD, Level-1C and Level-2A
product metadata.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from geodecloud.errors import SceneError
from geodecloud.scene.bands import SENTINEL2_NM
from geodecloud.sentinel2.document_kinds import PRODUCT_ROOT, TILE_ROOT, local_name
from geodecloud.sentinel2.files import ProductFiles, band_in

_ESA_QUANTIFICATION = 10000.0
_TILE = re.compile(r"(?:^|_)T?(\d\d[C-X][A-Z]{2})(?=_|$)")
_BASELINE = re.compile(r"_N(\d\d)\.?(\d\d)(?=_|\.|$)")


@dataclass(frozen=True)
class ProductFacts:
    """What is known about a product, and which document says how DN are to be read.

    Attributes
    ----------
    identity : name and tile as documents say, the same for a product's folder and its archive; without
        documents its path
    level : "L1C", "L2A", of sen2like "L2F" or "L2H"; or None
    baseline : processing baseline such as "05.09"
    tile : MGRS tile, such as "33UXQ"
    time : of acquisition, UTC
    sun_zenith_deg, sun_azimuth_deg : mean over the tile
    cloud_percent : as the provider says
    crs, origin_xy : of the tile, for band files that do not say where they lie
    quantification : DN per unit of reflectance
    offsets_dn : by band, to be added to DN; None: no document says any
    why : which document says so, in words
    listed : band and nominal pixel size in m of the images that the documents name
    wavelengths_nm : central, by band
    """

    identity: str
    level: str | None = None
    baseline: str | None = None
    platform: str | None = None
    tile: str | None = None
    time: datetime | None = None
    sun_zenith_deg: float | None = None
    sun_azimuth_deg: float | None = None
    cloud_percent: float | None = None
    crs: str | None = None
    origin_xy: tuple[float, float] | None = None
    quantification: float = _ESA_QUANTIFICATION
    offsets_dn: dict[str, float] | None = None
    why: str = ""
    listed: tuple[tuple[str, int], ...] = ()
    wavelengths_nm: dict[str, float] = field(default_factory=lambda: dict(SENTINEL2_NM))


def read_facts(files: ProductFiles) -> ProductFacts:
    """Read the documents of a product, the most telling one last.

    Raises
    ------
    SceneError
        If a document is damaged or unsafe.
    """
    # a name alone is no proof that two are the same: providers call folders B02's after dates, or 0
    facts = ProductFacts(identity=os.path.realpath(files.path), tile=_tile_in(files.name))
    facts = _with(facts, baseline=_baseline_in(files.name))
    for name, reader in [
        (files.stac_json, _read_stac),
        (files.tile_xml, _read_tile),
        (files.product_xml, _read_product),
    ]:
        if name is not None:
            facts = reader(facts, files, name)
    if facts.tile is None:
        facts = _with(facts, tile=_tile_in(files.bands[0].name.rsplit("/", 1)[-1]))
    return facts


def _read_product(facts: ProductFacts, files: ProductFiles, name: str) -> ProductFacts:
    """``MTD_MSIL1C.xml`` and the like: radiometry, bands, baseline."""
    root = _parse(files, name)
    kind = PRODUCT_ROOT.fullmatch(local_name(root.tag))
    if kind is None:
        raise SceneError(
            f"{files.path}: {name} is no product metadata, it starts with <{local_name(root.tag)}>"
        )
    platform = _text(root, "SPACECRAFT_NAME")
    if platform and not re.match("sentinel-?2", platform, re.I):
        raise SceneError(
            f"{files.path}: {name} says it is of {platform}, whose bands are others than Sentinel-2's of "
            "the same names; make one raster of those you need, with their names and scales"
        )
    ids = _band_ids(root)
    found = {
        tag: _text(root, tag)
        for tag in ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
    }
    found["QUANTIFICATION_VALUE"] = _text(root, "QUANTIFICATION_VALUE")
    tag, text = next(((t, v) for t, v in found.items() if v), ("", None))
    quantification = _number(text, files, name, tag) if text else _ESA_QUANTIFICATION
    if not quantification > 0:
        raise SceneError(f"{files.path}: {name} has {tag} {text}; it must be above 0")
    offsets, offset_tag = _offsets(root, ids, files, name)
    said = f"{tag} {quantification:g}" if tag else "no quantification value"
    said += f", {offset_tag} {_brief(offsets)}" if offset_tag else ", no offset"
    uri = _text(root, "PRODUCT_URI") or _text(root, "PRODUCT_URI_2A") or files.name
    uri = re.sub(r"\.SAFE$", "", uri)
    return _with(
        facts,
        identity=None if files.tile_xml else f"{files.name} {uri}",
        level=f"L{kind[1]}",
        baseline=_text(root, "PROCESSING_BASELINE"),
        platform=platform,
        time=facts.time or _time(_text(root, "PRODUCT_START_TIME")),
        tile=facts.tile or _tile_in(uri),
        cloud_percent=_float_or_none(_text(root, "Cloud_Coverage_Assessment")),
        quantification=quantification,
        offsets_dn=offsets,
        why=f"{said} in {name.rsplit('/', 1)[-1]}",
        wavelengths_nm=facts.wavelengths_nm | _wavelengths(root, ids),
        listed=_listed(root),
    )


def _listed(root: Element) -> tuple[tuple[str, int], ...]:
    """Band and pixel size of each image that the document names."""
    found = set()
    for element in root.iter():
        if local_name(element.tag) in ("IMAGE_FILE", "IMAGE_FILE_2A", "IMAGE_ID", "IMAGE_ID_2A"):
            band = band_in(f"{(element.text or '').strip()}.jp2")
            found |= {band} if band is not None else set()
    return tuple(sorted(found))


def _read_tile(facts: ProductFacts, files: ProductFiles, name: str) -> ProductFacts:
    """``MTD_TL.xml``: tile, time, sun."""
    root = _parse(files, name)
    kind = TILE_ROOT.fullmatch(local_name(root.tag))
    if kind is None:
        return facts
    tile_id = _text(root, "TILE_ID") or _text(root, "TILE_ID_2A") or ""
    left, top = (_float_or_none(_text(root, tag)) for tag in ("ULX", "ULY"))
    sun = next((e for e in root.iter() if local_name(e.tag) == "Mean_Sun_Angle"), None)
    return _with(
        facts,
        identity=f"{files.name} {tile_id}",
        level=f"L{kind[1]}",
        baseline=_baseline_in(tile_id),
        tile=_tile_in(tile_id),
        time=_time(_text(root, "SENSING_TIME")),
        sun_zenith_deg=_float_or_none(_text(sun, "ZENITH_ANGLE")),
        sun_azimuth_deg=_float_or_none(_text(sun, "AZIMUTH_ANGLE")),
        cloud_percent=_float_or_none(_text(root, "CLOUDY_PIXEL_PERCENTAGE")),
        crs=_text(root, "HORIZONTAL_CS_CODE"),
        origin_xy=None if left is None or top is None else (left, top),
    )


def _read_stac(facts: ProductFacts, files: ProductFiles, name: str) -> ProductFacts:
    """A STAC Item beside the bands: what the provider says of the very files it has written."""
    try:
        return _facts_of_item(facts, files, name, json.loads(files.folder.read(name)))
    except (
        *(ValueError, LookupError, TypeError, AttributeError),
        *(ArithmeticError, RecursionError),  # numbers without end, brackets within brackets
    ) as error:
        problem = f"{type(error).__name__}: {error}"
        raise SceneError(f"{files.path}: {name} is a damaged STAC Item ({problem})") from error


def _facts_of_item(
    facts: ProductFacts, files: ProductFiles, name: str, item: dict[str, Any]
) -> ProductFacts:
    properties = dict(item["properties"])
    said = {
        str(asset.get("href", "")).rsplit("/", 1)[-1]: _radiometry(asset)
        for asset in item["assets"].values()
    }
    declared = {
        band.band: said[own]
        for band in files.bands
        if (own := band.name.rsplit("/", 1)[-1]) in said
    }
    applied = properties.get("earthsearch:boa_offset_applied")
    scales = {b: float(v["scale"]) for b, v in declared.items() if "scale" in v and b != "SCL"}
    offsets = {b: float(declared[b].get("offset", 0)) / scale for b, scale in scales.items()}
    why, offsets_dn = "", None
    if applied is True:
        offsets_dn, why = dict.fromkeys(declared, 0.0), f"boa_offset_applied is true in {name}"
    elif offsets:
        offsets_dn, why = offsets, f"raster:bands offset {_brief(offsets)} in {name}"
    elevation = properties.get("view:sun_elevation")
    return _with(
        facts,
        identity=f"{files.name} {item.get('id')}",
        level=_level_in(str(properties.get("s2:product_uri", ""))),
        baseline=_baseline_of_item(properties),
        platform=_of_type(properties, "platform", str),
        tile=_tile_in(str(properties.get("grid:code", "")).replace("MGRS-", "")),
        time=_time(properties.get("datetime")),
        sun_zenith_deg=None if elevation is None else 90 - float(elevation),
        sun_azimuth_deg=_of_type(properties, "view:sun_azimuth", (int, float)),
        cloud_percent=_of_type(properties, "eo:cloud_cover", (int, float)),
        quantification=1 / next(iter(scales.values())) if scales else None,
        offsets_dn=offsets_dn,
        why=why,
    )


def _radiometry(asset: dict[str, Any]) -> dict[str, Any]:
    """Scale and offset of an asset: of its bands, as in STAC 1.0 and 1.1, or its own."""
    first = (asset.get("raster:bands") or asset.get("bands") or [{}])[0]
    found = {}
    for key in ("scale", "offset"):
        values = (first.get(key), first.get(f"raster:{key}"), asset.get(f"raster:{key}"))
        value = next((v for v in values if v is not None), None)
        if value is not None:
            found[key] = value
    return found


def _of_type(properties: dict[str, Any], key: str, kinds: Any) -> Any:
    """A property, if it is of the type that STAC gives it; None: it is another, or not there."""
    value = properties.get(key)
    return value if isinstance(value, kinds) and not isinstance(value, bool) else None


def _baseline_of_item(properties: dict[str, Any]) -> str | None:
    """Such as 05.09, by the Sentinel-2 or the processing extension; also where it is a number."""
    said = properties.get("s2:processing_baseline") or properties.get("processing:version")
    found = re.fullmatch(r"0?(\d{1,2})\.(\d{1,2})", str(said))
    return f"{int(found[1]):02}.{found[2].zfill(2)}" if found else None


def _offsets(
    root: Element, ids: dict[str, str], files: ProductFiles, name: str
) -> tuple[dict[str, float], str]:
    """Offsets by band, all 0 where the document lists none, and the name of their element."""
    offsets, tag = {}, ""
    for element in root.iter():
        if local_name(element.tag) in ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET"):
            tag = local_name(element.tag)
            number = element.get("band_id") or element.get("bandId") or ""
            if number not in ids:
                raise SceneError(f"{files.path}: {name} has a {tag} for an unknown band {number!r}")
            offsets[ids[number]] = _number(element.text, files, name, tag)
    return offsets or dict.fromkeys(SENTINEL2_NM, 0.0), tag


def _band_ids(root: Element) -> dict[str, str]:
    """Band names by the document's numbers, such as 8: B8A; ESA's order where it has no list."""
    ids = {}
    for element in root.iter():
        if local_name(element.tag) == "Spectral_Information":
            found = re.fullmatch(r"B(\d+A?)", element.get("physicalBand", ""))
            if found:
                ids[element.get("bandId", "")] = f"B{found[1].zfill(2)}"
    return ids or {str(i): band for i, band in enumerate(SENTINEL2_NM)}


def _wavelengths(root: Element, ids: dict[str, str]) -> dict[str, float]:
    found = {}
    for element in root.iter():
        if local_name(element.tag) == "Spectral_Information":
            centre = _float_or_none(_text(element, "CENTRAL"))
            if centre is not None and element.get("bandId") in ids:
                found[ids[element.get("bandId", "")]] = centre
    return found


def _parse(files: ProductFiles, name: str) -> Element:
    """Parse XML that may be an attack: no entities, no external references."""
    try:
        parsed: Element = fromstring(files.folder.read(name), forbid_dtd=True)
        return parsed
    except (ParseError, ValueError, LookupError) as error:
        unsafe = isinstance(error, DefusedXmlException)
        problem = "defines entities, which metadata of a product does not" if unsafe else str(error)
        raise SceneError(f"{files.path}: {name} cannot be read as XML: {problem}") from error


def _with(facts: ProductFacts, **found: Any) -> ProductFacts:
    """The facts, with those replaced that were found."""
    return dataclasses.replace(facts, **{k: v for k, v in found.items() if v is not None})


def _text(root: Element | None, tag: str) -> str | None:
    for element in () if root is None else root.iter():
        if local_name(element.tag) == tag and element.text and element.text.strip():
            return element.text.strip()
    return None


def _number(text: str | None, files: ProductFiles, name: str, tag: str) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise SceneError(f"{files.path}: {name} has {tag} {text!r}, which is no number") from error


def _float_or_none(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):  # of the year 1, in another zone
        return None


def _tile_in(text: str) -> str | None:
    found = _TILE.search(re.sub(r"\.SAFE.*", "", text).replace(".", "_"))
    return found[1] if found else None


def _baseline_in(text: str) -> str | None:
    found = _BASELINE.search(text)
    return f"{found[1]}.{found[2]}" if found else None


def _level_in(text: str) -> str | None:
    found = re.search(r"MSI(L\d[A-Z])", text)
    return found[1] if found else None


def _brief(offsets: dict[str, float]) -> str:
    """``-1000``, or ``-1000 to -900`` where bands differ."""
    low, high = min(offsets.values()), max(offsets.values())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
