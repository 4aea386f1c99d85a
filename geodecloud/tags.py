"""Tags of a raster and its bands, by namespace: read, written, and seen through GDAL's copy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

Tags = Mapping[str, Mapping[str, str]]  # namespace -> key -> value; "" is the default one

#: Namespaces that describe the old file's storage, not the scene.
_STORAGE = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "RPC", "rio_creation_kwds"}


def read_tags(src: DatasetReader, index: int = 0) -> dict[str, dict[str, str]]:
    """Tags of the dataset, or of the 1-based band `index`, by namespace."""
    namespaces = ["", *(n for n in src.tag_namespaces(index) if n not in _STORAGE)]
    tags = {name: src.tags(index, ns=name or None) for name in namespaces}
    return {name: values for name, values in tags.items() if values}


def write_tags(dst: DatasetWriter, tags: Tags, index: int = 0) -> None:
    """Write tags of the dataset, or of the 1-based band `index`."""
    for namespace, values in tags.items():
        dst.update_tags(index, ns=namespace or None, **values)


def copy_option(band_tags: tuple[Tags, ...]) -> str:
    """GDAL's COPY_SRC_MDD that keeps most.

    AUTO takes only the default namespace and a few GDAL knows; YES takes all, but GDAL 3.10 then
    leaves out the default one of bands.
    """
    return "AUTO" if any(tags.get("") for tags in band_tags) else "YES"


def write_missing_tags(src: DatasetReader, copy: DatasetReader) -> None:
    """Write what GDAL's copy has left out into the side file of the copy, ``NAME.aux.xml``."""
    missing = {i: _lacking(read_tags(src, i), read_tags(copy, i)) for i in range(src.count + 1)}
    if not any(missing.values()):
        return
    path = Path(f"{copy.name}.aux.xml")
    root = ElementTree.parse(path).getroot() if path.exists() else ElementTree.Element("PAMDataset")
    for index, tags in missing.items():
        place = _band_element(root, index) if index and tags else root
        for namespace, values in tags.items():
            element = ElementTree.SubElement(place, "Metadata", domain=namespace)
            for key, value in values.items():
                ElementTree.SubElement(element, "MDI", key=key).text = value
    ElementTree.ElementTree(root).write(path, encoding="utf-8")


def _lacking(tags: Tags, found: Tags) -> dict[str, Mapping[str, str]]:
    """Tags that are not the same in `found`, which may hold more."""
    lost = {
        name: {k: v for k, v in values.items() if found.get(name, {}).get(k) != v}
        for name, values in tags.items()
    }
    return {name: values for name, values in lost.items() if values}


def _band_element(root: ElementTree.Element, index: int) -> ElementTree.Element:
    found = root.find(f"PAMRasterBand[@band='{index}']")
    if found is None:
        return ElementTree.SubElement(root, "PAMRasterBand", band=str(index))
    return found
