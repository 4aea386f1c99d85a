"""The files of a Sentinel-2 product, wherever they lie: which file holds which band.

Read as they are: ``.SAFE`` folders of both naming conventions, the same inside a ``.zip``
(through GDAL's ``/vsizip/``, nothing is unpacked), flat folders of cloud providers
(``B02.jp2`` beside ``metadata.xml``, ``B02.tif`` beside a STAC Item) and loose band files.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from geodecloud.errors import GeodecloudError, SceneError
from geodecloud.sentinel2.document_kinds import (
    PRODUCT_ROOT,
    PRODUCT_XML,
    TILE_ROOT,
    TILE_XML,
    find_document,
    is_document,
)
from geodecloud.sentinel2.folder import Folder, ZipFolder

#: Pixel size in m at which ESA delivers each band.
NATIVE_M = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12", "SCL"), 20),
    **dict.fromkeys(("B01", "B09", "B10"), 60),
}
#: ``B02.jp2``, ``T33UXQ_20210410T100021_B02_60m.jp2``, ``S2A_OPER_..._T32TQM_B02.jp2``, and the
#: first L2A products' ``S2A_USER_SCL_L2A_TL_..._T32TQM_20m.jp2``.
_BAND = re.compile(
    r"(?:.*_)?(?P<band>B(?:0[1-9]|1[0-2]|8A)|SCL)(?:_(?P<res>[126]0)m)?\.(?:jp2|tiff?)", re.I
)
_OLD_SCL = re.compile(r".*_(?P<band>SCL)_L2A_.*_(?P<res>[126]0)m\.jp2", re.I)
#: Folders beside the bands whose files have band names and are none (MSK_DETFOO_B02.jp2).
NO_BANDS = {"qi_data", "qi", "aux_data", "auxiliary", "datastrip", "html", "rep_info", "preview"}
#: Parts of a product that hold its bands.
BAND_FOLDERS = {"granule", "img_data", "r10m", "r20m", "r60m"}
#: Landsat's files of single bands have names that would fit.
_LANDSAT = re.compile(r"L[CEMOT]0[1-9]_", re.I)


@dataclass(frozen=True)
class BandFile:
    """One raster of a product: band ("B02" or "SCL"), nominal pixel size, name, GDAL's path."""

    band: str
    resolution_m: int
    name: str
    path: str


@dataclass(frozen=True)
class ProductFiles:
    """What a product consists of; one tile, one date.

    Attributes
    ----------
    path : where the user finds it
    name : of the folder or archive, without ``.SAFE`` and ``.zip``; of the tile where the
        product holds several
    folder : where the files are
    bands : rasters of the reflectance bands and of the SCL, each maybe at several pixel sizes
    product_xml, tile_xml, stac_json : names of the metadata, None where there is none
    is_safe : whether it claims to be a product as ESA makes them
    """

    path: str
    name: str
    folder: Folder | ZipFolder
    bands: tuple[BandFile, ...]
    product_xml: str | None
    tile_xml: str | None
    stac_json: str | None
    is_safe: bool

    @property
    def files(self) -> list[str]:
        """All files on disk that are read."""
        metadata = [self.product_xml, self.tile_xml, self.stac_json]
        return self.folder.files([*(b.name for b in self.bands), *(m for m in metadata if m)])


def find_products(path: str | Path) -> list[ProductFiles]:
    """The products at a path: none if it is something else, several for an old one with tiles.

    Parameters
    ----------
    path : product folder or ``.zip``, or its metadata file, or a granule in one of these

    Raises
    ------
    SceneIOError, SceneError
        If it is a product, but one that cannot be read.
    """
    where = Path(path)  # asked by os.path, which knows no error: a name may be too long for a file
    if os.path.isfile(where) and (_is_metadata(where) or where.suffix.lower() == ".json"):
        where = where.parent
    granule = None
    if where.parent.name.upper() == "GRANULE" and os.path.isdir(where):
        granule, where = where.name, where.parent.parent
    archive = next(
        (p for p in where.parents if p.suffix.lower() == ".zip" and os.path.isfile(p)), None
    )
    if archive is not None:
        granule, where = Path(path).name, archive
    if os.path.isdir(where) and looks_like_product(where):
        return _of_folder(Folder(where), where.name, granule)
    if os.path.isfile(where) and where.suffix.lower() == ".zip":
        return _of_folder(ZipFolder(where), where.name, granule)
    return []


def _of_folder(folder: Folder | ZipFolder, name: str, granule: str | None) -> list[ProductFiles]:
    stem = re.sub(r"\.(zip|SAFE)$", "", re.sub(r"\.zip$", "", name, flags=re.I), flags=re.I)
    names = folder.names
    bands = [band for file in names if (band := _band_file(folder, file))]
    marks = [name, *names[:1], *(band.name for band in bands[:1])]
    is_safe = any(re.search(r"\.SAFE(/|$)|(^|/)GRANULE/", mark, re.I) for mark in marks)
    if not bands:
        if is_safe:
            raise SceneError(f"{folder.root} holds no band files (B02.jp2 and the like)")
        return []
    granules = sorted({_granule(band.name) for band in bands})
    if granules[0] == "" and not is_safe:  # what lies in folders below is not of it
        granules = granules[:1]
    if granule is not None:
        granules = [g for g in granules if g.rstrip("/").rsplit("/", 1)[-1] == granule]
        if not granules:
            raise SceneError(f"{folder.root} holds no band files in its granule {granule}")
    products = []
    several = len(granules) > 1 or granule is not None
    for prefix in granules:
        mine = [band for band in bands if _granule(band.name) == prefix]
        own = [n for n in names if n.startswith(prefix)]
        root = prefix.split("GRANULE/")[0] if "GRANULE/" in prefix else prefix
        product = ProductFiles(
            path=f"{folder.root}/{prefix}".rstrip("/") if several else str(folder.root),
            name=f"{stem}_{prefix.rstrip('/').rsplit('/', 1)[-1]}" if several else stem,
            folder=folder,
            bands=tuple(mine),
            product_xml=find_document(folder, [root, prefix], PRODUCT_XML, PRODUCT_ROOT),
            tile_xml=find_document(folder, [prefix], TILE_XML, TILE_ROOT),
            stac_json=_stac_item(folder, own, prefix),
            is_safe=is_safe,
        )
        _check_one_file_per_band(product)
        products.append(product)
    return products


def _band_file(folder: Folder | ZipFolder, name: str) -> BandFile | None:
    found = band_in(name)
    return None if found is None else BandFile(*found, name, folder.gdal_path(name))


def band_in(name: str) -> tuple[str, int] | None:
    """Band and nominal pixel size by the name of a file in a product; None: it is no band."""
    *parents, base = name.split("/")
    if base.startswith((".", "MSK_")) or _LANDSAT.match(base):
        return None
    if any(part.lower() in NO_BANDS for part in parents):
        return None
    found = _OLD_SCL.fullmatch(base) or _BAND.fullmatch(base)
    if found is None:
        return None
    band = found["band"].upper()
    in_folder = re.fullmatch(r"R([126]0)m", parents[-1], re.I) if parents else None
    text = found["res"] or (in_folder and in_folder[1]) or NATIVE_M[band]
    return band, int(text)


def _granule(name: str) -> str:
    """The part of a name that all bands of one tile share: up to the granule, or the folder."""
    if found := re.match(r"(.*?GRANULE/[^/]+/)", name, re.I):
        return found[1]
    folder = name.rsplit("/", 1)[0] + "/" if "/" in name else ""
    return re.sub(r"(?:(?<=/)|^)(IMG_DATA/)?(R[126]0m/)?$", "", folder, flags=re.I)


def _stac_item(folder: Folder | ZipFolder, names: list[str], prefix: str) -> str | None:
    """The first JSON file directly in a folder that is a STAC Item."""
    for name in names:
        base = name[len(prefix) :]
        if not name.startswith(prefix) or "/" in base or not base.lower().endswith(".json"):
            continue
        try:
            said = json.loads(folder.read(name))
        except (GeodecloudError, ValueError, RecursionError):
            continue
        parts = (
            [said.get(key) for key in ("properties", "assets")] if isinstance(said, dict) else []
        )
        if parts and all(isinstance(part, dict) for part in parts):
            return name
    return None


def _check_one_file_per_band(product: ProductFiles) -> None:
    seen: dict[tuple[str, int], str] = {}
    for band in product.bands:
        other = seen.setdefault((band.band, band.resolution_m), band.name)
        if other != band.name:
            raise SceneError(
                f"{product.path} holds two files of band {band.band} at {band.resolution_m} m, "
                f"{other} and {band.name}; keep one product in a folder"
            )


def _is_metadata(path: Path) -> bool:
    usual = ("manifest.safe", "tileInfo.json", "productInfo.json")
    return path.name in usual or is_document(path)


def looks_like_product(folder: Path) -> bool:
    """Whether it is worth looking at all files of a folder: something at the top tells."""
    if folder.name.upper().endswith(".SAFE"):
        return True
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    bands = {found[0] for name in names if (found := band_in(name))}
    return (
        len(bands) > 1
        or any(name.lower() in BAND_FOLDERS for name in names)
        or (bool(bands) and any(_is_metadata(folder / name) for name in names))
    )
