"""Where a scene's pixels lie on Earth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window as RioWindow
from rasterio.windows import transform as window_transform
from shapely import Polygon

from geodecloud.windows.tiler import Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader


@dataclass(frozen=True)
class Grid:
    """CRS, affine transform (pixel corner to CRS units) and shape (height, width).

    `crs` is None where the scene has none; `transform` is the identity where pixels have no
    affine place (ground control points only, RPCs only, or nothing at all).
    """

    crs: CRS | None
    transform: Affine
    shape_yx: tuple[int, int]

    @classmethod
    def of(cls, src: DatasetReader) -> Grid:
        """The grid of an open dataset."""
        return cls(src.crs, src.transform, (src.height, src.width))

    @property
    def has_place(self) -> bool:
        """Whether pixels have an affine place in a CRS; numbers of damaged files may be no numbers."""
        if self.crs is None or self.transform == Affine.identity():
            return False
        finite = all(math.isfinite(value) for corner in self._corners for value in corner)
        return finite and self.transform.determinant != 0

    @property
    def res_xy(self) -> tuple[float, float]:
        """Pixel size in CRS units, positive, also for rotated grids."""
        t = self.transform
        return (t.a**2 + t.d**2) ** 0.5, (t.b**2 + t.e**2) ** 0.5

    @property
    def pixel_m(self) -> float:
        """Side of a pixel in m; 10 where the grid does not say, as of a Sentinel-2 scene."""
        if self.crs is None or not self.crs.is_projected or not self.has_place:
            return 10.0
        _, unit_m = self.crs.linear_units_factor
        return float(unit_m * sum(self.res_xy) / 2)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of the footprint, in CRS units."""
        return self.footprint.bounds

    @property
    def footprint(self) -> Polygon:
        """The outline of the scene, four corners, right also for rotated grids."""
        return Polygon(self._corners)

    @property
    def _corners(self) -> list[tuple[float, float]]:
        height, width = self.shape_yx
        corners = [(0, 0), (width, 0), (width, height), (0, height)]
        return [self.place(col, row) for col, row in corners]

    def place(self, col: Any, row: Any) -> tuple[Any, Any]:
        """CRS coordinates of points counted in pixels from the corner, numbers or arrays."""
        t = self.transform
        return t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f

    def window_transform(self, window: Window) -> Affine:
        """Transform of a window's own pixels."""
        return window_transform(RioWindow(*window), self.transform)

    def __str__(self) -> str:
        height, width = self.shape_yx
        if not self.has_place:
            return f"{width} x {height} px, no georeference"
        (xres, yres), crs = self.res_xy, self.crs
        assert crs is not None
        unit = "°" if crs.is_geographic else " m" if crs.linear_units == "metre" else " units"
        name = crs.to_string() if crs.to_epsg() else (crs.to_dict().get("proj") or "custom CRS")
        return f"{width} x {height} px of {xres:g} x {yres:g}{unit}, {name}"
