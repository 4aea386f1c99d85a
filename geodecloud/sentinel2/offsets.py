"""The offset of a product's DN: what the documents say, and what speaks against it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.errors import SceneError
from geodecloud.sentinel2.documents import ProductFacts
from geodecloud.sentinel2.files import ProductFiles
from geodecloud.sentinel2.pixels import NODATA

#: From this processing baseline on, ESA's products have an offset.
FIRST_BASELINE_WITH_OFFSET = (4, 0)
#: What that offset has been in every product so far, DN.
USUAL_OFFSET_DN = -1000.0
#: Reflectance per DN of all of them.
USUAL_SCALE = 1e-4
#: Share of pixels that may have less reflectance than this before the offset is doubted.
_DARK, _DARK_SHARE = -0.03, 0.05


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
            "says how DN are to be read. Download it again, or say it: --s2-offset -1000 (baseline "
            "04.00 and later) or --s2-offset none"
        )
    if facts.offsets_dn is not None:
        if missing := [band for band in bands if band not in facts.offsets_dn]:
            raise SceneError(
                f"{files.path}: {facts.why}, but nothing for {', '.join(missing)}. Say it for all "
                "bands: --s2-offset -1000 or --s2-offset none"
            )
        return {band: facts.offsets_dn[band] for band in bands}, facts.why
    if facts.baseline is None:
        return dict.fromkeys(bands, 0.0), (
            "no document says what DN mean, taken as without offset; if the product is of baseline "
            "04.00 or later, give --s2-offset -1000"
        )
    numbers = tuple(int(part) for part in re.findall(r"\d+", facts.baseline)[:2])
    offset = USUAL_OFFSET_DN if numbers >= FIRST_BASELINE_WITH_OFFSET else 0.0
    return dict.fromkeys(bands, offset), (
        f"offset {offset:g} DN as products of baseline {facts.baseline} have it; the product's own "
        "MTD_MSIL1C.xml or MTD_MSIL2A.xml is not here to say so"
    )


def doubt_offset(
    sample: NDArray[Any],
    scales: Sequence[float],
    offsets: Sequence[float],
    names: Sequence[str | None],
    nodata: float | None,
    options: tuple[str, str],
) -> list[str]:
    """Hold the offset against the pixels: providers add, remove and mislabel it.

    Parameters
    ----------
    sample : (band, y, x) DN; 0 counts as no data even where nobody says so
    scales, offsets : reflectance = DN * scale + offset, a number per band
    names : of the bands
    nodata : the number for no data, or None
    options : what to type for no offset, and for that of baseline 04.00

    Returns
    -------
    Sentences; none where nothing speaks against the offset.
    """
    valid = (np.isfinite(sample) & (sample != NODATA) & (sample != nodata)).all(axis=0)
    if valid.sum() < 100:
        return []
    none, usual = options
    dn = sample[:, valid].astype(np.float64)
    column, shift = np.asarray(scales), np.asarray(offsets)
    dark = (dn * column[:, None] + shift[:, None] < _DARK).mean(axis=1)
    if (shift < 0).any() and dark.max() > _DARK_SHARE:
        band = names[int(dark.argmax())] or f"number {dark.argmax() + 1}"
        return [
            f"with the offset, {100 * dark.max():.0f} % of band {band} has a reflectance below "
            f"{_DARK:g}: it looks as if the provider had applied it already. If so, give {none}"
        ]
    darkest = np.percentile(dn, 1, axis=1).min()
    if (shift == 0).all() and np.allclose(column, USUAL_SCALE) and darkest >= 1000:
        return [
            f"no band has pixels below 1000 DN (the darkest 1 % end at {darkest:.0f}), as in "
            f"products with an offset of -1000. If these DN have it, give {usual}; over "
            "bright ground or full cloud they may be right"
        ]
    return []
