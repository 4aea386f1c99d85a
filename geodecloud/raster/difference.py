"""Whether two files hold the same scene: pixels, masks, and all that is said besides."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.windows
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError

from geodecloud.raster.side_files import read_side_facts
from geodecloud.scene.metadata import Metadata

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

#: Fields of `Metadata` that say something of each band.
PER_BAND = ("descriptions", "scales", "offsets", "units", "colorinterp", "colormaps")


def find_difference(raw: DatasetReader, final: DatasetReader) -> str | None:
    """What differs between two rasters that should hold the same scene; None: nothing."""
    facts, found = (facts_of(_described(src)) for src in (raw, final))
    for name, value in facts.items():
        if found.get(name) != value:
            return f"its {name} is {shorten(found.get(name))}, not {shorten(value)}"
    masked = MaskFlags.per_dataset in raw.mask_flag_enums[0]
    height, width = raw.shape
    for top in range(0, height, 512):
        window = rasterio.windows.Window(0, top, width, min(512, height - top))
        try:
            ours, theirs = raw.read(window=window), final.read(window=window)
            masks = [src.dataset_mask(window=window) for src in (raw, final)] if masked else []
        except RasterioError as error:
            return f"rows from {top} cannot be read back: {error.__cause__ or error}"
        if not np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):
            return f"pixels of rows {top} to {top + ours.shape[-2]} differ"
        if masks and not np.array_equal(masks[0], masks[1]):
            return "its mask differs"
    return None


def _described(src: DatasetReader) -> Metadata:
    """Everything an open raster says besides its pixels."""
    return replace(Metadata.of_dataset(src), side_facts=read_side_facts(src))


def facts_of(metadata: Metadata) -> dict[str, Any]:
    """What is said of a raster besides its pixels, by name, in a form that compares.

    What holds for each band is a tuple; one that is empty says nothing.
    """
    points = [(p.row, p.col, p.x, p.y, p.z) for p in metadata.gcps]
    facts: dict[str, Any] = {
        "shape": metadata.grid.shape_yx,
        "count": metadata.count,
        "dtypes": metadata.dtypes,
        "crs": metadata.grid.crs,
        "transform": metadata.grid.transform,
        "rpcs": metadata.rpcs,
        "ground control points": (points, metadata.gcps_crs),
        # as text: NaN is no equal of itself
        "nodata": "none" if metadata.nodata is None else f"{float(metadata.nodata):.17g}",
        **{name: getattr(metadata, name) for name in PER_BAND},
    }
    for index, owned in enumerate((metadata.tags, *metadata.band_tags)):
        owner = f"band {index}" if index else "the raster"
        for namespace, tags in owned.items():
            for key, value in tags.items():
                label = f"{namespace}:{key}" if namespace else key
                facts[f"tag {label} of {owner}"] = value
    return facts | metadata.side_facts.facts()


def shorten(value: object) -> str:
    """A value as text for a message, at most 200 letters."""
    return textwrap.shorten(str(value), 200, placeholder="...")
