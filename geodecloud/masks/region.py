"""Which pixels of a scene have their centres in polygons of any CRS."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.affinity import translate

from geodecloud.scene.grid import Grid
from geodecloud.windows.tiler import Window

_Array: TypeAlias = NDArray[Any]
#: Upper left pixels of square cells (n, row and column), and how many pixels long their sides are.
_Cells: TypeAlias = tuple[_Array, int]

#: A cell that an edge may cross is cut into so many a side.
_CUT = 8
#: The longer side of a scene has at least so many cells: none is bent round half the globe.
_MIN_CELLS = 16
#: Cells cut at a time; bounds the memory.
_BATCH = 1024


class Region:
    """Polygons of any CRS, laid on the grid of a scene: a pixel is in if its centre is.

    Centres are brought to the CRS of the polygons, where edges are straight, not edges to the
    scene's: so the date line and the poles are places like any other, and a pixel that has no place
    there, such as one beside the disk that a geostationary satellite sees, is outside. To be quick,
    the scene is cut into square cells, and only those that an edge may cross are cut further.

    Parameters
    ----------
    polygons : valid, with an area; in degrees they may reach beyond 180
    crs : of the polygons, anything pyproj knows
    grid : has a place

    Attributes
    ----------
    shifts : what to add to x to have all that is on the globe between longitudes -180 and 180:
        whole turns for polygons that reach beyond, 0 for others

    Raises
    ------
    pyproj.exceptions.ProjError
        If there is no way from the CRS of the grid to that of the polygons.
    """

    def __init__(self, polygons: Any, crs: Any, grid: Grid) -> None:
        self.polygons, self.crs, self.grid = polygons, CRS.from_user_input(crs), grid
        self._to_polygons = Transformer.from_crs(grid.crs, self.crs, always_xy=True)
        self._turn = 0.0
        if self.crs.is_geographic:
            self._turn = math.tau / self.crs.axis_info[0].unit_conversion_factor
        self.shifts = self._all_round()
        self._area = shapely.union_all([translate(polygons, xoff=x) for x in self.shifts])
        self._edges = self._area.boundary
        self._side = 1
        while max(grid.shape_yx) // (self._side * _CUT) >= _MIN_CELLS:
            self._side *= _CUT

    def _all_round(self) -> list[float]:
        """How far to shift the polygons, so that what reaches beyond -180 or 180 is on the globe."""
        if not self._turn:
            return [0.0]
        west, _, east, _ = self.polygons.bounds
        first, last = -0.5 - east / self._turn, 0.5 - west / self._turn
        return [turn * self._turn for turn in range(math.ceil(first), math.floor(last) + 1)]

    def find(self, window: Window) -> NDArray[np.bool_]:
        """Which pixels of a window are in."""
        height, width = (-(-size // self._side) * self._side for size in window.shape_yx)
        inside = np.zeros((height, width), bool)
        for cells, side in self._search(window):
            steps = np.arange(side)
            rows = cells[:, 0, None, None] - window.row_off + steps[:, None]
            cols = cells[:, 1, None, None] - window.col_off + steps
            inside[rows, cols] = True
        return inside[: window.height, : window.width]

    def is_empty(self) -> bool:
        """Whether no pixel of the scene is in."""
        height, width = self.grid.shape_yx
        return next(self._search(Window(0, 0, width, height)), None) is None

    def place(self, points: _Array) -> tuple[_Array, _Array]:
        """Where points (..., row and column) lie in the CRS of the polygons, as x and y.

        Not finite where a point has no place there. Longitudes are from -180 to 180.
        """
        xs, ys = self._to_polygons.transform(*self.grid.place(points[..., 1], points[..., 0]))
        if self._turn:
            with np.errstate(invalid="ignore"):
                xs = (xs + self._turn / 2) % self._turn - self._turn / 2
        return xs, ys

    def _search(self, window: Window) -> Iterator[_Cells]:
        """Cells of a window that are in; they may reach beyond its end."""
        # a geometry forgets on its way to another process that it is prepared
        shapely.prepare([self._area, self._edges])
        start = np.array([window.row_off, window.col_off])
        first = start + _lattice(window.shape_yx, self._side)
        yield from self._cut(first, self._side, start + window.shape_yx)

    def _cut(self, cells: _Array, side: int, end: _Array) -> Iterator[_Cells]:
        """Cells that are in, and the parts that are in of those that an edge may cross."""
        if side == 1:
            xs, ys = self.place(cells + 0.5)
            crossed = np.zeros(xs.size, bool)
        else:
            corners = self.place(
                cells + np.array([[[0, 0]], [[0, side]], [[side, side]], [[side, 0]]])
            )
            crossed = self._may_be_crossed(*corners)
            xs, ys = corners[0][0], corners[1][0]
        inside = ~crossed & shapely.intersects_xy(self._area, xs, ys)
        if inside.any():
            yield cells[inside], side
        rest = cells[crossed, None]
        for batch in (rest[i : i + _BATCH] for i in range(0, len(rest), _BATCH)):
            parts = (batch + _lattice((side, side), side // _CUT)).reshape(-1, 2)
            yield from self._cut(parts[(parts < end).all(axis=1)], side // _CUT, end)

    def _may_be_crossed(self, xs: _Array, ys: _Array) -> NDArray[np.bool_]:
        """Whether edges pass through cells, as far as their corners (4, n) can tell.

        Sides that are straight on the scene's grid may be bent here, so a cell reaches beyond its
        corners, but by less than they are apart. Around a pole and across the date line they are
        half the globe apart.
        """
        with np.errstate(invalid="ignore"):
            west, east, south, north = xs.min(0), xs.max(0), ys.min(0), ys.max(0)
            apart = np.maximum(east - west, north - south)
        crossed = ~np.isfinite(apart)  # cannot tell
        boxes = shapely.box(west - apart, south - apart, east + apart, north + apart)
        crossed[~crossed] = shapely.intersects(self._edges, boxes[~crossed])
        return crossed


def _lattice(shape_yx: tuple[int, int], step: int) -> _Array:
    """Every `step`-th row and column, as (n, 2)."""
    rows, cols = np.mgrid[: shape_yx[0] : step, : shape_yx[1] : step]
    return np.column_stack([rows.ravel(), cols.ravel()])
