"""A STAC Item beside the result of a Sentinel-2 product, for catalogues to read.

It holds no time of writing: the same scene gives the same file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pystac
from pystac.extensions.eo import Band, EOExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import DataType, NoDataStrings, RasterBand, RasterExtension
from shapely.geometry import mapping

from geodecloud._version import __version__
from geodecloud.raster.staging import OutputRaster
from geodecloud.scene.footprint import lonlat_footprint
from geodecloud.scene.metadata import Metadata
from geodecloud.sentinel2.documents import ProductFacts

_PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
_VIEW = "https://stac-extensions.github.io/view/v1.0.0/schema.json"
_GRID = "https://stac-extensions.github.io/grid/v1.1.0/schema.json"


def describe_item(
    item_path: Path,
    source_path: str,
    facts: ProductFacts,
    metadata: Metadata,
    rasters: Sequence[OutputRaster],
    pixels: Mapping[str, int],
    lineage: str,
    is_cog: bool = True,
) -> str:
    """The Item as JSON.

    Parameters
    ----------
    item_path : where it will be; paths in it are relative to that
    source_path, facts : of the product it was derived from; `facts.time` must be known
    metadata : of the scene
    rasters : that were written
    pixels : by provenance code, see `geodecloud.decloud_file.Report`
    lineage : what was done, in one sentence
    is_cog : whether the rasters are cloud-optimised
    """
    media_type = pystac.MediaType.COG if is_cog else pystac.MediaType.GEOTIFF
    outline = lonlat_footprint(metadata.grid)
    item = pystac.Item(
        id=item_path.stem,
        geometry=None if outline is None else dict(mapping(outline)),
        bbox=None if outline is None else _bbox(outline),
        datetime=facts.time,
        properties=_properties(facts, metadata, pixels, lineage),
        stac_extensions=[_PROCESSING, _VIEW, _GRID],
    )
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    epsg = None if metadata.grid.crs is None else metadata.grid.crs.to_epsg()
    projection.apply(
        code=f"EPSG:{epsg}" if epsg else None,
        wkt2=None if epsg or metadata.grid.crs is None else metadata.grid.crs.to_wkt(),
        shape=list(metadata.grid.shape_yx),
        transform=list(metadata.grid.transform)[:9],
    )
    item.add_link(
        pystac.Link(
            pystac.RelType.DERIVED_FROM,
            Path(os.path.relpath(source_path, item_path.parent)).as_posix(),
            title=Path(source_path).name,
        )
    )
    for raster in rasters:
        _add_asset(item, item_path.parent, raster, facts, metadata, media_type)
    EOExtension.ext(item, add_if_missing=True).apply(cloud_cover=_percent(pixels, "left"))
    return json.dumps(item.to_dict(include_self_link=False), indent=1, sort_keys=True)


def _properties(
    facts: ProductFacts, metadata: Metadata, pixels: Mapping[str, int], lineage: str
) -> dict[str, Any]:
    masked = sum(_percent(pixels, name) for name in ("restored", "synthesised", "left"))
    zenith = facts.sun_zenith_deg
    said = {
        "platform": facts.platform and facts.platform.lower(),
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": round(metadata.grid.res_xy[0], 3),
        "grid:code": facts.tile and f"MGRS-{facts.tile}",
        "view:sun_elevation": None if zenith is None else 90 - zenith,
        "view:sun_azimuth": facts.sun_azimuth_deg,
        "s2:processing_baseline": facts.baseline,
        "processing:level": facts.level,
        "processing:software": {"geodecloud": __version__},
        "processing:lineage": lineage,
        "geodecloud:cloud_cover_before": round(masked, 4),
        "geodecloud:cloud_cover_by_provider": facts.cloud_percent,
        **{f"geodecloud:{name}": _percent(pixels, name) for name in pixels if name != "nodata"},
    }
    return {key: value for key, value in said.items() if value is not None}


def _add_asset(
    item: pystac.Item,
    folder: Path,
    raster: OutputRaster,
    facts: ProductFacts,
    metadata: Metadata,
    media_type: str,
) -> None:
    """One raster; what is not a band of the scene says something about it."""
    names = raster.metadata.descriptions
    is_data = set(names) <= set(metadata.descriptions)
    one = len(names) == 1
    asset = pystac.Asset(
        href=f"./{Path(os.path.relpath(raster.path, folder)).as_posix()}",
        media_type=media_type,
        roles=["data", "reflectance"] if is_data else ["metadata"],
        title=f"band {names[0]}" if is_data and one else None if is_data else names[0],
    )
    item.add_asset(str(names[0]) if one else "data", asset)
    nodata: Any = raster.metadata.nodata
    if nodata is not None and math.isnan(nodata):
        nodata = NoDataStrings.NAN  # JSON has no such number
    bands = zip(names, raster.metadata.scales, raster.metadata.offsets, strict=True)
    described = [
        RasterBand.create(
            nodata=nodata,
            data_type=DataType(raster.metadata.dtypes[0]),
            scale=scale if is_data else None,
            offset=offset if is_data else None,
        )
        for _, scale, offset in bands
    ]
    RasterExtension.ext(asset, add_if_missing=True).apply(bands=described)
    if is_data:
        EOExtension.ext(asset, add_if_missing=True).apply(
            bands=[
                Band.create(
                    name=str(name), center_wavelength=facts.wavelengths_nm[str(name)] / 1000
                )
                for name in names
            ]
        )


def _bbox(outline: Any) -> list[float]:
    """West, south, east, north; west is the larger one across the date line (RFC 7946)."""
    west, south, east, north = outline.bounds
    parts = getattr(outline, "geoms", [outline])
    if len(parts) > 1:
        west = min(part.bounds[0] for part in parts if part.bounds[0] > 0)
        east = max(part.bounds[2] for part in parts if part.bounds[2] < 0)
    return [west, south, east, north]


def _percent(pixels: Mapping[str, int], name: str) -> float:
    valid = sum(pixels.values()) - pixels["nodata"]
    return round(100 * pixels[name] / valid, 4) if valid else 0.0
