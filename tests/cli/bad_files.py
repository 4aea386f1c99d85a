"""Small files that are wrong in one way each, for `bad_input`. Each function lays its files into a folder."""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from conftest import textured_dn, write_raster
from products import build_small

Make = Callable[[Path], object]
SAFE = "S2A_MSIL2A_20230625T104621_N0510_R051_T33UXQ_20230625T170000.SAFE"


def nothing(folder: Path) -> None:
    """The good scene alone."""


def together(*makes: Make) -> Make:
    """Several of them."""
    return lambda folder: [make(folder) for make in makes]


def text(name: str, content: str = "not what its name says") -> Make:
    """A text file of any name."""

    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")

    return make


def folder(name: str) -> Make:
    """An empty folder."""
    return lambda place: (place / name).mkdir(parents=True)


def raster(
    name: str,
    dn: np.ndarray | None = None,
    bands: Sequence[str] = (),
    scales: float | None = None,
    offsets: float | None = None,
    **profile: object,
) -> Make:
    """A raster of other pixels, names, scales or place than a good scene's."""

    def make(place: Path) -> None:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_raster(path, textured_dn(4, 30, 40) if dn is None else dn, **profile)
        with rasterio.open(path, "r+") as dst:
            if bands:
                dst.descriptions = tuple(bands)
            if scales is not None:
                dst.scales = (scales,) * dst.count
            if offsets is not None:
                dst.offsets = (offsets,) * dst.count

    return make


def cut_off(place: Path) -> None:
    """A COG of which the second half is missing: its directory comes first."""
    whole = write_raster(place / "whole.tif", textured_dn(4, 300, 300))
    rasterio.shutil.copy(whole, place / "cut.tif", driver="COG")
    content = (place / "cut.tif").read_bytes()
    (place / "cut.tif").write_bytes(content[: len(content) // 2])
    whole.unlink()


def complex_numbers(place: Path) -> None:
    """Radar, single look complex."""
    write_raster(place / "slc.tif", np.ones((1, 8, 8), np.complex64))


def vrt(name: str, bands: Sequence[tuple[str, str]]) -> Make:
    """A VRT of single bands: (dtype, further XML) of each."""

    def make(place: Path) -> None:
        inside = "".join(
            f'<VRTRasterBand dataType="{dtype}" band="{i}">{more}</VRTRasterBand>'
            for i, (dtype, more) in enumerate(bands, start=1)
        )
        document = f'<VRTDataset rasterXSize="9" rasterYSize="9">{inside}</VRTDataset>'
        (place / name).write_text(document)

    return make


def alpha(place: Path) -> None:
    """Three bands and one that says where there is data."""
    dn = textured_dn(4, 20, 20)
    path = write_raster(place / "rgba.tif", dn, photometric="RGB", alpha="YES")
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = (None,) * 4


def two_pages(place: Path) -> None:
    """A TIFF of two images."""
    for append in ("NO", "YES"):
        dn = textured_dn(1, 9, 9)
        write_raster(place / "pages.tif", dn, APPEND_SUBDATASET=append)


def archive(name: str, *members: str, encrypted: bool = False) -> Make:
    """A ZIP archive; its rasters are copies of the good scene."""

    def make(place: Path) -> None:
        with zipfile.ZipFile(place / name, "w") as file:
            for member in members:
                is_raster = member.endswith(".tif")
                content = (place / "scene.tif").read_bytes() if is_raster else b"words"
                file.writestr(member, content)
        if encrypted:  # the flag in the file's header, and that in the directory at the end
            content = bytearray((place / name).read_bytes())
            for mark, where in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
                content[content.index(mark) + where] |= 1
            (place / name).write_bytes(content)

    return make


def geojson(name: str, geometry: dict[str, object] | None) -> Make:
    """A vector file of one geometry, in degrees; None: no geometry."""
    feature = {"type": "Feature", "properties": {"name": "field"}, "geometry": geometry}
    return text(name, json.dumps({"type": "FeatureCollection", "features": [feature]}))


def polygon(west: float, south: float) -> dict[str, object]:
    """A triangle with sides of one degree."""
    corners = [[west, south], [west + 1, south], [west + 1, south + 1], [west, south]]
    return {"type": "Polygon", "coordinates": [corners]}


def without_crs(place: Path) -> None:
    """A shapefile without its .prj."""
    import geopandas
    from shapely import box

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that a CRS is missing
        geopandas.GeoDataFrame(geometry=[box(0, 0, 1, 1)]).to_file(place / "field.shp")


def product(*damages: Callable[[Path], object]) -> Make:
    """A Sentinel-2 product of level 2A, with what has happened to it."""

    def make(place: Path) -> None:
        built = build_small(place / SAFE, size=48)
        for damage in damages:
            damage(built)

    return make


def lose_document(safe: Path) -> None:
    (safe / "MTD_MSIL2A.xml").unlink()


def cut_document(safe: Path) -> None:
    path = safe / "MTD_MSIL2A.xml"
    path.write_text(path.read_text()[:400])


def empty_band(safe: Path) -> None:
    next(safe.rglob("*_B04_10m.jp2")).write_bytes(b"")


def lose_bands(safe: Path) -> None:
    shutil.rmtree(safe / "GRANULE")


def safetensors(place: Path) -> None:
    """Tensors without a card."""
    import torch
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, place / "foreign.safetensors")


def pipe(place: Path) -> None:
    """What a name may be besides a file."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("a system without pipes that have names")
    os.mkfifo(place / "pipe")


def link_to_nowhere(place: Path) -> None:
    """A link whose folder is missing."""
    (place / "link.tif").symlink_to(place / "no" / "such.tif")
