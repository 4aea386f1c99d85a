"""Whether two files hold the same scene: pixels, masks, and all that is said besides."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.windows
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError

from geodecloud.raster.side_files import read_side_facts
from geodecloud.scene.tags import read_tags

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

#: What has to be the same in the raw and the finished file, by rasterio's names; more in `_facts`.
_COMPARED = (
    *("shape", "count", "dtypes", "crs", "transform", "rpcs"),
    *("descriptions", "scales", "offsets", "units", "colorinterp"),
)


def find_difference(raw: DatasetReader, final: DatasetReader) -> str | None:
    """What differs between two rasters that should hold the same scene; None: nothing."""
    facts, found = _facts(raw), _facts(final)
    for name, value in facts.items():
        if found.get(name) != value:
            return f"its {name} is {_short(found.get(name))}, not {_short(value)}"
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


def _facts(src: DatasetReader) -> dict[str, Any]:
    """What a raster says besides its pixels, by name, in a form that compares."""
    facts = {name: getattr(src, name) for name in _COMPARED}
    facts["nodata"] = str(src.nodata)  # NaN is no equal of itself
    points, crs = src.gcps
    facts["ground control points"] = [(p.row, p.col, p.x, p.y, p.z) for p in points], crs
    for index in range(src.count + 1):
        owner = f"band {index}" if index else "the raster"
        for namespace, tags in read_tags(src, index).items():
            for key, value in tags.items():
                label = f"{namespace}:{key}" if namespace else key
                facts[f"tag {label} of {owner}"] = value
    return facts | read_side_facts(src).facts()


def _short(value: object) -> str:
    return textwrap.shorten(str(value), 200, placeholder="...")
