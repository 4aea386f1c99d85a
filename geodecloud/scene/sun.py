"""Where the sun stood over a scene, as its tags say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from geodecloud.scene.grid import Grid

#: Tags that say so, in degrees: that of products as this package reads them, and that of others.
SUN_AZIMUTH = "SUN_AZIMUTH_DEG"
_NAMES = (SUN_AZIMUTH, "SUN_AZIMUTH")


def sun_tags(attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Of the attributes of an array those that say where the sun stood."""
    return {str(key): str(value) for key, value in attrs.items() if str(key).upper() in _NAMES}


def sun_azimuth_deg(tags: Mapping[str, str], grid: Grid) -> float | None:
    """Degrees clockwise from the top of the image, 0 to 360; None: no tag says so, or the grid is turned."""
    if grid.has_place and (grid.transform.b != 0 or grid.transform.e >= 0):
        return None
    named = {key.upper(): value for key, value in tags.items()}
    said = next((named[name] for name in _NAMES if name in named), None)
    try:
        azimuth = math.nan if said is None else float(said)
    except ValueError:
        return None
    return azimuth % 360 if math.isfinite(azimuth) else None
