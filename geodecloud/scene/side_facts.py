"""What a raster says that rasterio has no words for: coordinate epoch, category names, attribute tables.

GDAL writes all of it into its description of a raster as VRT, and reads it from the file ``NAME.aux.xml`` (PAM)
beside a raster; both have the same XML elements.

References
----------
GDAL RFC 81, Support for coordinate epochs in geospatial formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_EPOCH = "coordinateEpoch"
_CATEGORIES, _TABLE = "CategoryNames", "GDALRasterAttributeTable"


@dataclass(frozen=True)
class SideFacts:
    """Epoch of the CRS, and by 0-based band, where a band has any, XML of GDAL's.

    Attributes
    ----------
    epoch : decimal year of the coordinates in a dynamic CRS, as text; None: none is given
    categories : names of the values 0, 1, 2, ...
    tables : raster attribute tables
    """

    epoch: str | None = None
    categories: tuple[tuple[int, str], ...] = ()
    tables: tuple[tuple[int, str], ...] = ()

    @classmethod
    def of_vrt(cls, text: str) -> SideFacts:
        """Read it from GDAL's description of a raster."""
        root = ElementTree.fromstring(text)
        srs = root.find("SRS")
        bands = root.findall("VRTRasterBand")
        return cls(
            epoch=None if srs is None else srs.get(_EPOCH),
            categories=_by_band(bands, _CATEGORIES),
            tables=_by_band(bands, _TABLE),
        )

    def one_band(self, index: int) -> SideFacts:
        """What is said of one band on its own, 0-based."""
        return SideFacts(
            self.epoch,
            tuple((0, xml) for band, xml in self.categories if band == index),
            tuple((0, xml) for band, xml in self.tables if band == index),
        )

    def of_place(self) -> SideFacts:
        """What is said of any raster on the same grid."""
        return SideFacts(self.epoch)

    def facts(self) -> dict[str, str]:
        """By name, in a form that compares."""
        said = {"coordinate epoch": self.epoch} if self.epoch else {}
        said |= {f"category names of band {band + 1}": xml for band, xml in self.categories}
        return said | {f"attribute table of band {band + 1}": xml for band, xml in self.tables}

    def add_to(self, pam: Element, vrt: str) -> None:
        """Put it into the XML beside a raster.

        Parameters
        ----------
        pam : root of ``NAME.aux.xml``
        vrt : GDAL's description of the raster, which has the CRS that the epoch belongs to
        """
        srs = ElementTree.fromstring(vrt).find("SRS")
        if self.epoch and srs is not None:
            for older in pam.findall("SRS"):
                pam.remove(older)
            srs.set(_EPOCH, self.epoch)
            pam.insert(0, srs)
        for band, xml in (*self.categories, *self.tables):
            owner, new = band_element(pam, band + 1), ElementTree.fromstring(xml)
            for older in owner.findall(new.tag):
                owner.remove(older)
            owner.append(new)


def _by_band(bands: list[Element], tag: str) -> tuple[tuple[int, str], ...]:
    found = ((index, band.find(tag)) for index, band in enumerate(bands))
    return tuple((index, _canonical(element)) for index, element in found if element is not None)


def _canonical(element: Element) -> str:
    """One text for what means the same; spaces between elements mean nothing, in a text they do."""
    for part in element.iter():
        part.tail = None
        if len(part):
            part.text = None
    return ElementTree.canonicalize(ElementTree.tostring(element, encoding="unicode"))


def band_element(pam: Element, index: int) -> Element:
    """The element of the 1-based band `index` in the XML beside a raster, made if it is not there."""
    found = pam.find(f"PAMRasterBand[@band='{index}']")
    return ElementTree.SubElement(pam, "PAMRasterBand", band=str(index)) if found is None else found
