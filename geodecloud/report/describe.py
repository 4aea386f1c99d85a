"""Facts about a scene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from geodecloud.errors import GeodecloudError
from geodecloud.options import FileOptions
from geodecloud.restore.decisions import decide
from geodecloud.scene.bands import describe
from geodecloud.scene.metadata import Metadata
from geodecloud.source import open_source

if TYPE_CHECKING:
    from geodecloud.keywords import FileKeywords


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
