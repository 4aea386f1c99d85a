"""The XML that GDAL keeps beside a raster, for what rasterio cannot read or write."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile

from geodecloud.errors import GeodecloudWarning
from geodecloud.raster.gdal import GDAL_ERRORS, gdal_settings
from geodecloud.scene.side_facts import SideFacts

if TYPE_CHECKING:
    from rasterio.io import DatasetReader


def read_side_facts(src: DatasetReader) -> SideFacts:
    """What a raster says that rasterio has no words for; no pixel is read."""
    try:
        return SideFacts.of_vrt(_as_vrt(src))
    except (*GDAL_ERRORS, SystemError) as error:  # rasterio's where GDAL fails and says nothing
        warnings.warn(
            f"{src.name}: whether it has a coordinate epoch, category names or attribute tables cannot "
            f"be found out ({error}); they are left out",
            GeodecloudWarning,
            stacklevel=2,
        )
        return SideFacts()


def write_side_facts(path: Path, facts: SideFacts) -> None:
    """Add such facts to a raster that is closed, in the file ``NAME.aux.xml``."""
    if not facts.facts():
        return
    with gdal_settings(path), rasterio.open(path) as src:
        vrt = _as_vrt(src)
    beside = path.with_name(f"{path.name}.aux.xml")
    root = (
        ElementTree.parse(beside).getroot()
        if beside.exists()
        else ElementTree.Element("PAMDataset")
    )
    facts.add_to(root, vrt)
    ElementTree.ElementTree(root).write(beside, encoding="utf-8")


def _as_vrt(src: DatasetReader) -> str:
    """GDAL's own description of a raster, in XML."""
    with MemoryFile(ext=".vrt") as file:
        rasterio.shutil.copy(src, file.name, driver="VRT")
        return str(file.read().decode())
