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

import antimeridian
import pystac
from shapely.geometry import mapping

from geodecloud._version import __version__
from geodecloud.raster.staging import OutputRaster
from geodecloud.scene.footprint import lonlat_footprint
from geodecloud.scene.metadata import Metadata
from geodecloud.sentinel2.documents import ProductFacts

_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in (
        *("processing/v1.2.0", "view/v1.0.0", "grid/v1.1.0"),
        *("projection/v2.0.0", "raster/v1.1.0", "eo/v1.1.0"),
    )
]


def describe_item(
    item_path: Path,
    source_path: str,
    facts: ProductFacts,
    metadata: Metadata,
    rasters: Sequence[OutputRaster],
    pixels: Mapping[str, int],
    lineage: str,
    is_cog: bool = True,
    references: Sequence[str] = (),
    self_check: Mapping[str, Any] | None = None,
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
    references : paths of the other dates that filled pixels; the Item is derived from them, too
    self_check : errors to expect, see `geodecloud.self_check.expected.Expected`; None: not asked for
    """
    outline = lonlat_footprint(metadata.grid)
    item = pystac.Item(
        id=item_path.stem,
        geometry=None if outline is None else dict(mapping(outline)),
        bbox=None if outline is None else antimeridian.bbox(outline),
        datetime=facts.time,
        properties=_properties(facts, metadata, pixels, lineage, self_check),
        stac_extensions=_EXTENSIONS,
    )
    for path in (source_path, *references):
        href = Path(os.path.relpath(path, item_path.parent)).as_posix()
        item.add_link(pystac.Link(pystac.RelType.DERIVED_FROM, href, title=Path(path).name))
    for raster in rasters:
        names = raster.metadata.descriptions
        asset = _describe_asset(raster, item_path.parent, facts, metadata)
        asset.media_type = pystac.MediaType.COG if is_cog else pystac.MediaType.GEOTIFF
        item.add_asset(str(names[0]) if len(names) == 1 else "data", asset)
    return json.dumps(item.to_dict(include_self_link=False), indent=1, sort_keys=True)


def _properties(
    facts: ProductFacts,
    metadata: Metadata,
    pixels: Mapping[str, int],
    lineage: str,
    self_check: Mapping[str, Any] | None,
) -> dict[str, Any]:
    masked = sum(
        _percent(pixels, name) for name in ("restored", "other_date", "synthesised", "left")
    )
    zenith, grid = facts.sun_zenith_deg, metadata.grid
    epsg = grid.crs.to_epsg() if grid.crs else None
    known = {
        "platform": facts.platform and facts.platform.lower(),
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": round(grid.res_xy[0], 3),
        "proj:wkt2": grid.crs.to_wkt() if grid.crs and not epsg else None,
        "proj:shape": list(grid.shape_yx),
        "proj:transform": list(grid.transform)[:9],
        "eo:cloud_cover": _percent(pixels, "left"),
        "grid:code": facts.tile and f"MGRS-{facts.tile}",
        "view:sun_elevation": None if zenith is None else 90 - zenith,
        "view:sun_azimuth": facts.sun_azimuth_deg,
        "s2:processing_baseline": facts.baseline,
        "processing:level": facts.level,
        "processing:software": {"geodecloud": __version__},
        "processing:lineage": lineage,
        "geodecloud:cloud_cover_before": round(masked, 4),
        "geodecloud:cloud_cover_by_provider": facts.cloud_percent,
        "geodecloud:self_check": self_check,
        **{f"geodecloud:{name}": _percent(pixels, name) for name in pixels if name != "nodata"},
    }
    code = f"EPSG:{epsg}" if epsg else None  # null has a meaning: see the WKT
    return {key: value for key, value in known.items() if value is not None} | {"proj:code": code}


def _describe_asset(
    raster: OutputRaster, folder: Path, facts: ProductFacts, metadata: Metadata
) -> pystac.Asset:
    """One raster: bands of the scene, or metadata such as provenance and cloud map."""
    about = raster.metadata
    names = about.descriptions
    is_data = set(names) <= set(metadata.descriptions)
    title = f"band {names[0]}" if is_data else names[0]
    band: dict[str, Any] = {"data_type": about.dtypes[0]}
    if about.nodata is not None:  # JSON has no NaN
        band["nodata"] = "nan" if math.isnan(about.nodata) else about.nodata
    bands = [
        band | ({"scale": scale, "offset": offset} if is_data else {})
        for scale, offset in zip(about.scales, about.offsets, strict=True)
    ]
    fields: dict[str, Any] = {"raster:bands": bands}
    if is_data:
        wavelengths = [facts.wavelengths_nm[str(name)] / 1000 for name in names]
        fields["eo:bands"] = [
            {"name": name, "center_wavelength": um}
            for name, um in zip(names, wavelengths, strict=True)
        ]
    return pystac.Asset(
        href=f"./{Path(os.path.relpath(raster.path, folder)).as_posix()}",
        roles=["data", "reflectance"] if is_data else ["metadata"],
        title=title if len(names) == 1 else None,
        extra_fields=fields,
    )


def _percent(pixels: Mapping[str, int], name: str) -> float:
    valid = sum(pixels.values()) - pixels["nodata"]
    return round(100 * pixels[name] / valid, 4) if valid else 0.0
