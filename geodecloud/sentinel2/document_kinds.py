"""What an XML file of a product is: by its root element, whatever its provider calls it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from geodecloud.errors import GeodecloudError, SceneError
from geodecloud.sentinel2.folder import Folder, ZipFolder

#: Roots of ESA's documents and of those made in their form, such as sen2like's Level-2F and Level-2H.
PRODUCT_ROOT = re.compile(r"Level-(\d[A-Z])_User_Product")
TILE_ROOT = re.compile(r"Level-(\d[A-Z])_Tile_ID")
#: Their usual names; such a file is the document, or damaged.
PRODUCT_XML = re.compile(r"MTD_MSIL\d[A-Z]\.xml|S2[A-Z]_\w+_MTD_SAFL\d[A-Z]_.*\.xml", re.I)
TILE_XML = re.compile(r"MTD_TL\.xml|S2[A-Z]_\w+_MTD_L\d[A-Z]_TL_.*\.xml", re.I)

#: Names that claim to be one of the two.
_CLAIMS = re.compile(r"metadata|^MTD", re.I)


def local_name(tag: Any) -> str:
    """Name of an element without its namespace."""
    return str(tag).rsplit("}", 1)[-1]


def root_of(content: bytes) -> str | None:
    """Name of the root element; None: it is no XML. Not more than the root is read."""
    try:
        for _, element in iterparse(io.BytesIO(content), events=("start",), forbid_dtd=True):
            return local_name(element.tag)
    except (ParseError, ValueError, LookupError, DefusedXmlException):
        return None
    return None


def is_document(path: Path) -> bool:
    """Whether a file on disk is the document of a product or a tile."""
    if PRODUCT_XML.fullmatch(path.name) or TILE_XML.fullmatch(path.name):
        return True
    if not _is_candidate(path.name):
        return False
    try:
        root = root_of(Folder(path.parent).read(path.name)) or ""
    except (GeodecloudError, OSError):
        return False
    return bool(PRODUCT_ROOT.fullmatch(root) or TILE_ROOT.fullmatch(root))


def find_document(
    folder: Folder | ZipFolder,
    prefixes: Sequence[str],
    usual_name: re.Pattern[str],
    root: re.Pattern[str],
) -> str | None:
    """Name of the document of one kind that lies directly in one of some folders.

    Parameters
    ----------
    prefixes : folders to look at, one after the other, "" or with a slash at the end
    usual_name, root : of the kind; a usual name is enough

    Raises
    ------
    SceneError
        If there are several that differ, and none has the usual name.
    """
    for prefix in prefixes:
        names = list(_directly_in(folder, prefix))
        for name in names:
            if usual_name.fullmatch(name[len(prefix) :]):
                return name
        found = _by_content(folder, [n for n in names if _is_candidate(n[len(prefix) :])], root)
        if found is not None:
            return found
    return None


def _by_content(
    folder: Folder | ZipFolder, names: Sequence[str], root: re.Pattern[str]
) -> str | None:
    contents: dict[str, bytes] = {}
    for name in names:
        try:
            content = folder.read(name)
        except GeodecloudError:  # too large for a document
            continue
        found = root_of(content)
        damaged = found is None and _CLAIMS.search(name.rsplit("/", 1)[-1])
        if damaged or root.fullmatch(found or ""):  # the one is told when it is read
            contents[name] = content
    if len(set(contents.values())) > 1:
        raise SceneError(
            f"{folder.root} holds several documents of one kind, {' and '.join(contents)}; keep that of "
            "the product its bands are of"
        )
    return next(iter(contents), None)


def _directly_in(folder: Folder | ZipFolder, prefix: str) -> Iterator[str]:
    return (n for n in folder.names if n.startswith(prefix) and "/" not in n[len(prefix) :])


def _is_candidate(name: str) -> bool:
    """Whether a file may be a document; GDAL's own files beside rasters are none."""
    return name.lower().endswith(".xml") and not name.lower().endswith(".aux.xml")
