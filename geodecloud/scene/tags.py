"""Tags of a raster and its bands, by namespace: read, written, and seen through GDAL's copy."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from geodecloud.errors import GeodecloudWarning
from geodecloud.scene.side_facts import band_element

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

Tags = Mapping[str, Mapping[str, str]]  # namespace -> key -> value; "" is the default one

#: Namespaces that describe the old file's storage, not the scene. OVERVIEWS names a file, maybe of another host, that
#: GDAL would take for the overviews of the result.
_STORAGE = {
    *("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "OVERVIEWS"),
    *("RPC", "rio_creation_kwds"),
}
#: Keys that rasterio's `update_tags` takes for arguments of its own.
_TAKEN = {"ns", "bidx"}


def read_tags(src: DatasetReader, index: int = 0) -> dict[str, dict[str, str]]:
    """Tags of the dataset, or of the 1-based band `index`, by namespace."""
    namespaces = ["", *(n for n in src.tag_namespaces(index) if n not in _STORAGE)]
    tags = {name: src.tags(index, ns=name or None) for name in namespaces}
    return {name: values for name, values in tags.items() if values}


def write_tags(dst: DatasetWriter, tags: Tags, index: int = 0) -> None:
    """Write tags of the dataset, or of the 1-based band `index`; what cannot be written is told."""
    for namespace, values in tags.items():
        written = _writable(namespace, values)
        if len(written) < len(values):
            owner = f"band {index}" if index else "the scene"
            names = ", ".join(repr(key) for key in values if key not in written)
            warnings.warn(
                f"tags of {owner} that rasterio cannot write are left out: "
                f"{names}{f' of the namespace {namespace}' if namespace else ''}",
                GeodecloudWarning,
                stacklevel=2,
            )
        dst.update_tags(index, ns=namespace or None, **written)


def kept_tags(tags: Tags) -> Tags:
    """The tags without those that `write_tags` has to leave out."""
    return {
        name: values if _is_xml(name) else kept
        for name, values in tags.items()
        if (kept := _writable(name, values))
    }


def _writable(namespace: str, values: Mapping[str, str]) -> dict[str, str]:
    """What rasterio can write of a namespace, as it has to be given."""
    if namespace.startswith("json:"):
        return {}  # GDAL's GeoTIFF knows only tags with a key, and rasterio has lost the text
    items = _xml_items(values) if _is_xml(namespace) else values
    return {key: value for key, value in items.items() if key not in _TAKEN}


def _is_xml(namespace: str) -> bool:
    return namespace.startswith("xml:")


def _xml_items(values: Mapping[str, str]) -> dict[str, str]:
    """An XML namespace holds one text and no keys, but rasterio writes ``key=value``.

    Parted at its first ``=`` the text comes out as it was; without one it cannot be written.
    """
    (text,) = values.values()
    head, equals, tail = text.partition("=")
    return {head: tail} if equals else {}


def copy_option(tags: Tags, band_tags: Sequence[Tags]) -> str:
    """GDAL's COPY_SRC_MDD that keeps most; what it loses `write_missing_tags` can write.

    AUTO takes only the default namespace and a few GDAL knows, among them ``xml:XMP``; YES takes
    all, but GDAL 3.10 then leaves out the default one of bands. XML is only whole in the file.
    """
    namespaces = {name for level in band_tags for name in level} | tags.keys() - {"xml:XMP"}
    has_xml = any(_is_xml(name) for name in namespaces)
    return "AUTO" if any(level.get("") for level in band_tags) and not has_xml else "YES"


def write_missing_tags(src: DatasetReader, copy: DatasetReader) -> None:
    """Write what GDAL's copy has left out into the side file of the copy, ``NAME.aux.xml``."""
    missing = {i: _lacking(read_tags(src, i), read_tags(copy, i)) for i in range(src.count + 1)}
    if not any(missing.values()):
        return
    path = Path(f"{copy.name}.aux.xml")
    root = ElementTree.parse(path).getroot() if path.exists() else ElementTree.Element("PAMDataset")
    for index, tags in missing.items():
        place = band_element(root, index) if index and tags else root
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
