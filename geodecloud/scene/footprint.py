"""Outlines of scenes on the globe, also where they cross the date line."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import antimeridian
import shapely
from pyproj import Transformer
from pyproj.exceptions import ProjError
from shapely import MultiPolygon, Polygon
from shapely.geometry.polygon import orient

from geodecloud.scene.grid import Grid


@lru_cache(256)  # scenes of one tile share theirs
def lonlat_footprint(grid: Grid) -> Polygon | MultiPolygon | None:
    """The outline of a scene in WGS 84, in two parts where it crosses the date line.

    None where the scene has no place, or its corners have none on the globe: those of a local CRS
    such as a drawing's, or of another planet's.
    """
    if not grid.has_place:
        return None
    assert grid.crs is not None
    outline = grid.footprint
    # turned on the plane, where left and right are sure; GeoJSON wants it to the left
    dense = orient(outline.segmentize(outline.length / 80))
    try:
        to_lonlat = Transformer.from_crs(grid.crs.to_wkt(), "EPSG:4326", always_xy=True)
    except ProjError:  # CRSError is one too
        return None
    globe = shapely.transform(dense, to_lonlat.transform, interleaved=False)
    if not all(map(_is_finite, globe.exterior.coords)):
        return None
    fixed: Any = antimeridian.fix_polygon(globe)
    return fixed  # type: ignore[no-any-return,unused-ignore]


def _is_finite(point: tuple[float, ...]) -> bool:
    return all(abs(value) < 1e4 for value in point)
