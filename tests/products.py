"""Builds small Sentinel-2 products: real documents of ESA, pixels of our own in real JP2 files."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import rasterio
from conftest import textured_dn
from rasterio.transform import from_origin

#: Pixels at 10 m; 360 m of ground each way hold whole pixels of 20 and 60 m too.
SIZE = 156
_MTD = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
<n1:General_Info><Product_Info><PRODUCT_START_TIME>2023-06-25T10:46:21.024Z</PRODUCT_START_TIME>
<PRODUCT_URI>{name}</PRODUCT_URI><PROCESSING_BASELINE>05.09</PROCESSING_BASELINE>
<SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>
<IMAGE_FILE>{images}</IMAGE_FILE></Product_Info>
<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
</QUANTIFICATION_VALUES_LIST><BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>
</n1:General_Info></n1:Level-2A_User_Product>
"""


def write_jp2(
    path: Path,
    dn: np.ndarray,
    crs: str | None = None,
    ulx: float = 0,
    uly: float = 0,
    res: float = 1,
) -> None:
    """One band, lossless, in blocks as ESA's files; without a CRS it has no place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if crs is None else {"crs": crs, "transform": from_origin(ulx, uly, res, res)}
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        width=dn.shape[1],
        height=dn.shape[0],
        count=1,
        dtype=dn.dtype,
        **place,
        QUALITY="100",
        REVERSIBLE="YES",
        BLOCKXSIZE="64",
        BLOCKYSIZE="64",
    ) as dst:
        dst.write(dn, 1)


def band_pixels(band: str, res: int, size: int = SIZE) -> np.ndarray:
    """DN of one band: different in each, with an empty corner; classes for the SCL."""
    side = size * 10 // res
    y, x = np.mgrid[:side, :side]
    empty = (x + 2 * y) * res < 400
    if band == "SCL":
        classes = np.array([4, 5, 3, 8, 9, 10, 6, 2], np.uint8)
        return np.where(empty, 0, classes[(x // 5 + 3 * (y // 7)) % 8]).astype(np.uint8)
    dn = textured_dn(1, side, side, seed=sum(map(ord, band)))[0]
    return np.where(empty, 0, dn)


def build_from_documents(documents: Path, target: Path, size: int = SIZE) -> Path:
    """A .SAFE with the documents of a real product and a JP2 for each image they list."""
    shutil.copytree(documents, target)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    mtd = next(target.glob("MTD_MSIL*.xml"))
    tile = next(target.rglob("MTD_TL.xml")).read_text()
    crs = re.search(r"EPSG:\d+", tile)[0]
    ulx, uly = (float(re.search(rf"<{tag}>(\S+)</{tag}>", tile)[1]) for tag in ("ULX", "ULY"))
    for image in re.findall(r"<IMAGE_FILE>(\S+)</IMAGE_FILE>", mtd.read_text()):
        found = re.search(r"_(B\d\d|B8A|SCL)(?:_(\d0)m)?$", image)
        if found is None:
            continue
        native = {"B01": 60, "B09": 60, "B10": 60, "B02": 10, "B03": 10, "B04": 10, "B08": 10}
        res = int(found[2] or native.get(found[1], 20))
        pixels = band_pixels(found[1], res, size)
        write_jp2(target / f"{image}.jp2", pixels, crs, ulx, uly, res)
    return target


def build_small(
    target: Path,
    epsg: int = 32633,
    size: int = SIZE,
    offsets: dict[int, int] | None = None,
    seed: int = 0,
) -> Path:
    """A level 2A .SAFE of four bands and an SCL, all at 10 and 20 m, with a document of ours."""
    name = target.name.removesuffix(".SAFE")
    tile = re.search(r"T\d\d[A-Z]{3}", name)
    tile_id = tile[0] if tile else "T33UXQ"
    data = f"GRANULE/L2A_{tile_id}_A000001_20230625T104621/IMG_DATA"
    lines = [
        f'<BOA_ADD_OFFSET band_id="{i}">{v}</BOA_ADD_OFFSET>' for i, v in (offsets or {}).items()
    ]
    target.mkdir(parents=True)
    for band in ("B02", "B03", "B04", "B08", "SCL"):
        res = 20 if band == "SCL" else 10
        pixels = band_pixels(band, res, size)
        if seed and band != "SCL":
            pixels = np.where(pixels > 0, pixels + np.uint16(seed), 0).astype(np.uint16)
        path = target / data / f"R{res}m" / f"{tile_id}_20230625T104621_{band}_{res}m.jp2"
        write_jp2(path, pixels, f"EPSG:{epsg}", 600000, 5500020, res)
    text = _MTD.format(name=target.name, images="", offsets="".join(lines))
    (target / "MTD_MSIL2A.xml").write_text(text)
    return target


def zip_product(folder: Path, archive: Path) -> Path:
    """The product as one downloads it."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder.parent))
    return archive
