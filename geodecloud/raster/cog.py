"""Whether a file is laid out as a cloud-optimised GeoTIFF, told from its own offsets.

References
----------
GDAL, ``validate_cloud_optimized_geotiff.py``: the same rules, by the tags that GDAL tells of a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodecloud.raster.reader import open_raster

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

#: Side in px above which a COG has tiles and overviews.
_WHOLE_PX = 512
#: Bytes within which the directory of the image begins: header, and GDAL's note on the layout.
_HEAD = 300


def find_cog_faults(path: str | Path) -> list[str] | None:
    """What keeps a file that was written as a COG from being one; None: it was not written as one.

    Raises
    ------
    SceneIOError
        If it cannot be opened.
    """
    with open_raster(path) as src:
        # GDAL tells LAYOUT=COG only as long as nobody has edited the file; its own note stays
        note = src.get_tag_item("GDAL_STRUCTURAL_METADATA", "TIFF") or ""
        if "LAYOUT=IFDS_BEFORE_DATA" not in note:
            return None
        return list(_faults(src, note))


def _faults(src: DatasetReader, note: str) -> Iterator[str]:
    if "KNOWN_INCOMPATIBLE_EDITION=YES" in note:
        yield "it was edited after it was written, and its parts are no longer in order"
    if any(name.lower().endswith(".ovr") for name in src.files):
        yield "its overviews are in a file beside it"
    overviews = src.overviews(1)
    rows, cols = src.block_shapes[0]
    if max(src.shape) > _WHOLE_PX and cols == src.width:
        yield "it is not tiled"
    if max(src.shape) > max(_WHOLE_PX, rows, cols) and not overviews:
        yield "it has no overviews"
    if overviews != sorted(overviews):
        yield f"its overviews {overviews} are not in order"
    directories = [_number(src, "IFD_OFFSET", level) for level in _levels(overviews)]
    if directories[0] > _HEAD:
        yield f"its directory begins at byte {directories[0]}, not within the first {_HEAD}"
    if directories != sorted(directories):
        yield f"its directories, at bytes {directories}, are not in order"
    # a level without a single block in its corner is sparse, and lies nowhere
    blocks = [n for level in _levels(overviews) if (n := _number(src, "BLOCK_OFFSET_0_0", level))]
    if blocks and min(blocks) < directories[-1]:
        yield f"pixels begin at byte {min(blocks)}, before the last directory at {directories[-1]}"
    if blocks != sorted(blocks, reverse=True):
        yield f"the pixels of its overviews, at bytes {blocks}, do not come before its own"


def _levels(overviews: list[int]) -> list[int | None]:
    """The image itself, and its overviews from the largest."""
    return [None, *range(len(overviews))]


def _number(src: DatasetReader, key: str, level: int | None) -> int:
    where: dict[str, Any] = {} if level is None else {"ovr": level}
    return int(src.get_tag_item(key, "TIFF", bidx=1, **where) or 0)
