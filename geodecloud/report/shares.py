"""How much of a scene is observed, restored, made up: counted from the provenance raster, every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from geodecloud.errors import SceneError
from geodecloud.pictures.kinds import MEANINGS, PROVENANCE_RGB, css_colour, name_of
from geodecloud.raster.look import count_values
from geodecloud.restore.composite import Provenance
from geodecloud.scene.grid import Grid


@dataclass(frozen=True)
class Share:
    """One kind of pixel.

    Attributes
    ----------
    share : of the pixels with data, 0 to 1; of nodata, of all pixels
    area_km2 : None where pixels have no size in metres
    """

    code: int
    name: str
    meaning: str
    pixels: int
    share: float
    area_km2: float | None
    colour: str


def count_shares(path: str, grid: Grid) -> list[Share]:
    """The kinds of pixels of a provenance raster.

    Raises
    ------
    SceneError
        If it holds numbers that are no codes.
    """
    counts = count_values(path)
    if unknown := sorted(set(counts) - set(Provenance)):
        raise SceneError(
            f"{path} is no provenance raster: it holds {unknown[0]}, and codes go from 0 to "
            f"{max(Provenance)}"
        )
    return [_share(code, counts, pixel_km2(grid)) for code in MEANINGS]


def _share(code: Provenance, counts: Mapping[int, int], pixel_km2: float | None) -> Share:
    pixels, total = counts.get(code, 0), sum(counts.values())
    whole = total if code is Provenance.NODATA else total - counts.get(Provenance.NODATA, 0)
    return Share(
        int(code),
        name_of(code),
        MEANINGS[code],
        pixels,
        pixels / whole if whole else 0.0,
        None if pixel_km2 is None else pixels * pixel_km2,
        css_colour(PROVENANCE_RGB[code]),
    )


def pixel_km2(grid: Grid) -> float | None:
    """Area of a pixel; None where the grid is not in metres."""
    crs = grid.crs
    if not grid.has_place or crs is None or not crs.is_projected or crs.linear_units != "metre":
        return None
    width, height = grid.res_xy
    return width * height / 1e6
