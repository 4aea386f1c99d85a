"""The offset of a product's DN, as its documents say."""

from __future__ import annotations

import re

from geodecloud.errors import SceneError
from geodecloud.sentinel2.documents import ProductFacts
from geodecloud.sentinel2.files import ProductFiles

#: From this processing baseline on, ESA's products have an offset.
FIRST_BASELINE_WITH_OFFSET = (4, 0)
#: What that offset has been in every product so far, DN.
USUAL_OFFSET_DN = -1000.0


def decide_offsets(
    facts: ProductFacts, files: ProductFiles, bands: list[str], asked: str | float
) -> tuple[dict[str, float], str]:
    """The DN offset of each band, and why, in words.

    Parameters
    ----------
    asked : "auto": as the documents say; "none"; or a number in DN for all bands

    Raises
    ------
    SceneError
        If the product's own metadata should be there and is not, or leaves a band out.
    """
    if asked == "none":
        return dict.fromkeys(bands, 0.0), "no offset, as asked"
    if not isinstance(asked, str):
        return dict.fromkeys(bands, float(asked)), f"offset {asked:g} DN, as asked"
    if files.is_safe and files.product_xml is None:
        others = [n for n in files.folder.names if n.lower().endswith(".xml") and n.count("/") < 2]
        looked = f"; {', '.join(others[:5])} is none" if others else ""
        raise SceneError(
            f"{files.path} has lost its product metadata (MTD_MSIL1C.xml or MTD_MSIL2A.xml{looked}), which "
            "says how DN are to be read. Download it again, or say it: s2_offset=-1000 (baseline "
            '04.00 and later) or s2_offset="none"'
        )
    if facts.offsets_dn is not None:
        if missing := [band for band in bands if band not in facts.offsets_dn]:
            raise SceneError(
                f"{files.path}: {facts.why}, but nothing for {', '.join(missing)}. Say it for all "
                'bands: s2_offset=-1000 or s2_offset="none"'
            )
        return {band: facts.offsets_dn[band] for band in bands}, facts.why
    if facts.baseline is None:
        return dict.fromkeys(bands, 0.0), (
            "no document says what DN mean, taken as without offset; if the product is of baseline "
            "04.00 or later, give s2_offset=-1000"
        )
    numbers = tuple(int(part) for part in re.findall(r"\d+", facts.baseline)[:2])
    offset = USUAL_OFFSET_DN if numbers >= FIRST_BASELINE_WITH_OFFSET else 0.0
    return dict.fromkeys(bands, offset), (
        f"offset {offset:g} DN as products of baseline {facts.baseline} have it; the product's own "
        "MTD_MSIL1C.xml or MTD_MSIL2A.xml is not here to say so"
    )
