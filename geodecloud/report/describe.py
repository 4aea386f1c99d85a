"""Facts about a scene, and a picture of before and after."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from geodecloud.errors import GeodecloudError
from geodecloud.options import FileOptions
from geodecloud.raster.reader import open_raster, read_metadata
from geodecloud.raster.whole_files import replacing
from geodecloud.restore.decisions import decide
from geodecloud.scene.bands import canonical_name, describe
from geodecloud.scene.metadata import Metadata
from geodecloud.source import open_source

if TYPE_CHECKING:
    from geodecloud.keywords import FileKeywords

#: Colours of the provenance codes in pictures: nodata, observed, restored, synthesised, left, other date.
PROVENANCE_RGB = np.array(
    [(0, 0, 0), (70, 70, 70), (90, 180, 235), (240, 150, 40), (235, 235, 235), (120, 200, 90)],
    np.uint8,
)


def describe_scene(path: str | Path, **options: Unpack[FileKeywords]) -> dict[str, Any]:
    """Facts about a scene and the decisions `geodecloud run` would take, ready to print.

    Parameters
    ----------
    path : see `geodecloud.source.open_source`
    **options : see `geodecloud.options.FileOptions`
    """
    asked = FileOptions.of(options)
    source = open_source(path, asked.resolution, asked.s2_offset)
    metadata = source.metadata
    facts: dict[str, Any] = {
        "scene": str(path),
        **source.describe(),
        "grid": str(metadata.grid),
        "bounds": [round(v, 6) for v in metadata.grid.bounds] if metadata.grid.has_place else None,
        "bands": describe(metadata.names),
        "dtype": metadata.dtypes[0],
        "nodata": None if metadata.nodata is None else str(metadata.nodata),
        "masks": _masks(metadata),
        "georeference": _georeference(metadata),
    }
    try:
        decisions = decide(metadata, source.sample(), asked)
    except GeodecloudError as error:
        return facts | {"model": None, "why": str(error)}
    restores = [metadata.names[i] or str(i + 1) for i in decisions.channels]
    decided = decisions.as_dict()
    del decided["bands"]  # said by name
    return facts | {"restores": " ".join(restores)} | decided


def _masks(metadata: Metadata) -> str:
    kinds = {
        "mask of the file": metadata.has_mask,
        "NODATA_VALUES": metadata.masked_by_tag,
        "alpha band": metadata.has_alpha,
    }
    return ", ".join(kind for kind, there in kinds.items() if there) or "none"


def _georeference(metadata: Metadata) -> str:
    if metadata.gcps:
        return f"{len(metadata.gcps)} ground control points"
    if metadata.rpcs is not None:
        return "RPCs"
    return "affine transform" if metadata.grid.has_place else "none"


def write_before_after(
    before: str | Path, after: str | Path, png: str | Path, provenance: str | Path | None = None
) -> Path:
    """Write a PNG: the scene before, after and, if given, its provenance, side by side.

    Red, green and blue by name, or the first bands; both pictures get one stretch, the 1st to
    99th percentile of the result, so that they can be compared. At most 1024 px a side.
    """
    images = [_read_rgb(path) for path in (before, after)]
    shown = images[1][:, images[1].any(axis=0)]
    low, high = np.percentile(shown, [1, 99], axis=1)
    panels = []
    for image in images:
        unit = np.clip((image - low[:, None, None]) / (high - low + 1e-12)[:, None, None], 0, 1)
        panels.append((255 * unit**0.8).astype(np.uint8))
    if provenance is not None:
        codes = _read_small(provenance, [1])[0].astype(int)
        panels.append(PROVENANCE_RGB[codes].transpose(2, 0, 1))
    return write_picture(join(panels, axis=2, gap_px=8), Path(png))


def join(pictures: Sequence[NDArray[np.uint8]], axis: int, gap_px: int) -> NDArray[np.uint8]:
    """Pictures (3, H, W) in a column (axis 1) or in a row (axis 2), with white gaps."""
    shape = [gap_px if i == axis else n for i, n in enumerate(pictures[0].shape)]
    gap = np.full(shape, 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=axis)


def write_picture(picture: NDArray[np.uint8], path: Path) -> Path:
    """Write (3, H, W) uint8 as PNG or, where the name says so, JPEG."""
    jpeg = path.suffix in (".jpg", ".jpeg")
    options = {"driver": "JPEG", "quality": 88} if jpeg else {"driver": "PNG"}
    height, width = picture.shape[1:]
    shape = {"width": width, "height": height, "count": 3, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture needs no place
        with replacing(path) as part, rasterio.open(part, "w", **options, **shape) as dst:
            dst.write(picture)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)
    return path


def _read_rgb(path: str | Path) -> NDArray[np.float64]:
    names = [canonical_name(name) for name in read_metadata(path).names]
    wanted = ["B04", "B03", "B02"]
    if set(wanted) <= set(names):
        indexes = [names.index(name) + 1 for name in wanted]
    else:
        indexes = [1, 2, 3] if len(names) >= 3 else [1, 1, 1]
    return _read_small(path, indexes).astype(np.float64)


def _read_small(path: str | Path, indexes: Sequence[int]) -> NDArray[Any]:
    with open_raster(path) as src:
        shrink = max(1, -(-max(src.shape) // 1024))
        shape = (len(indexes), src.height // shrink, src.width // shrink)
        return src.read(list(indexes), out_shape=shape)
