from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import rasterio
import rasterio.transform
import rasterio.warp
import rasterio.windows
from affine import Affine
from rasterio.crs import CRS

from geodecloud.scene.footprint import lonlat_footprint
from geodecloud.scene.grid import Grid
from geodecloud.windows.tiler import Window

SHAPE_YX = (101, 203)
COS, SIN = math.cos(math.radians(33)), math.sin(math.radians(33))
NORTH_UP = Affine(10, 0, 399960, 0, -20, 5000040)
TRANSFORMS = {
    "north-up": NORTH_UP,
    "south-up": Affine(10, 0, 399960, 0, 20, 4990000),
    "rotated": Affine(10 * COS, 20 * SIN, 399960, 10 * SIN, -20 * COS, 5000040),
    "sheared": Affine(10, 3, 399960, -2, -20, 5000040),
}
UTM = {"north": (CRS.from_epsg(32632), NORTH_UP), "south": (CRS.from_epsg(32733), NORTH_UP)}


@pytest.fixture(params=TRANSFORMS)
def grid(request):
    return Grid(CRS.from_epsg(32632), TRANSFORMS[request.param], SHAPE_YX)


def test_bounds_of_a_north_up_scene_are_rasterios():
    grid = Grid(CRS.from_epsg(32632), NORTH_UP, SHAPE_YX)
    assert grid.bounds == rasterio.transform.array_bounds(*SHAPE_YX, NORTH_UP)


def test_footprint_has_the_outer_corners_of_the_corner_pixels(grid):
    height, width = SHAPE_YX
    xs, ys = rasterio.transform.xy(
        grid.transform, [0, 0, height, height], [0, width, width, 0], offset="ul"
    )
    outline = np.array(grid.footprint.exterior.coords)
    np.testing.assert_allclose(outline[:4], np.column_stack([xs, ys]))
    np.testing.assert_allclose(grid.bounds, (min(xs), min(ys), max(xs), max(ys)))


def test_footprint_area_is_that_of_all_pixels(grid):
    pixel_area = abs(grid.transform.determinant)
    assert grid.footprint.is_valid
    assert grid.footprint.area == pytest.approx(pixel_area * SHAPE_YX[0] * SHAPE_YX[1])


@pytest.mark.parametrize("window", [Window(0, 0, 203, 101), Window(17, 40, 1, 61)])
def test_window_transform_is_rasterios_and_places_pixels_the_same(grid, window):
    made = grid.window_transform(window)
    ours = rasterio.windows.Window(*window)
    assert made.almost_equals(rasterio.windows.transform(ours, grid.transform))
    np.testing.assert_allclose(
        rasterio.transform.xy(made, 5, 3),
        rasterio.transform.xy(grid.transform, window.row_off + 5, window.col_off + 3),
    )


@pytest.mark.parametrize(
    ("kind", "res_xy"),
    [("north-up", (10, 20)), ("south-up", (10, 20)), ("rotated", (10, 20))],
)
def test_pixel_size_is_positive_and_does_not_turn_with_the_grid(kind, res_xy):
    grid = Grid(None, TRANSFORMS[kind], SHAPE_YX)
    assert grid.res_xy == pytest.approx(res_xy)


@pytest.mark.parametrize("hemisphere", UTM)
def test_grid_of_a_file_lies_in_its_hemisphere(tmp_path, hemisphere):
    crs, transform = UTM[hemisphere]
    path = tmp_path / "scene.tif"
    height, width = SHAPE_YX
    kind = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": height, "width": width}
    with rasterio.open(path, "w", crs=crs, transform=transform, **kind) as dst:
        dst.write(np.ones((1, *SHAPE_YX), np.uint8))
    with rasterio.open(path) as src:
        grid = Grid.of(src)
        assert (grid.crs, grid.transform, grid.shape_yx) == (crs, transform, SHAPE_YX)
        assert grid.bounds == tuple(src.bounds)
    assert grid.has_place
    left, bottom, right, top = rasterio.warp.transform_bounds(grid.crs, 4326, *grid.bounds)
    assert left < right
    assert (bottom > 0) == (hemisphere == "north")
    assert (top > 0) == (hemisphere == "north")


@pytest.mark.parametrize(
    ("crs", "transform"),
    [(None, NORTH_UP), (CRS.from_epsg(32632), Affine.identity()), (None, Affine.identity())],
)
def test_a_grid_without_crs_or_transform_has_no_place(crs, transform):
    grid = Grid(crs, transform, SHAPE_YX)
    assert not grid.has_place
    assert str(grid) == "203 x 101 px, no georeference"


@pytest.mark.parametrize(
    ("epsg", "text"),
    [
        (32632, "203 x 101 px of 10 x 20 m, EPSG:32632"),
        (32733, "203 x 101 px of 10 x 20 m, EPSG:32733"),
        (4326, "203 x 101 px of 10 x 20°, EPSG:4326"),
        (2263, "203 x 101 px of 10 x 20 units, EPSG:2263"),
    ],
)
def test_a_grid_reads_like_a_sentence(epsg, text):
    assert str(Grid(CRS.from_epsg(epsg), NORTH_UP, SHAPE_YX)) == text


@pytest.mark.parametrize(
    "crs",
    [
        'LOCAL_CS["drawing",UNIT["metre",1]]',
        'ENGCRS["site",EDATUM["mark"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
        'LENGTHUNIT["metre",1]]',
        "+proj=eqc +R=1737400 +units=m",
        "IAU_2015:49900",
    ],
    ids=["local", "engineering", "Moon", "Mars"],
)
def test_what_is_not_on_earth_has_no_outline_there(crs):
    grid = Grid(CRS.from_user_input(crs), NORTH_UP, SHAPE_YX)
    assert grid.has_place
    assert lonlat_footprint(grid) is None


def test_a_grid_cannot_be_changed():
    grid = Grid(None, NORTH_UP, SHAPE_YX)
    with pytest.raises(dataclasses.FrozenInstanceError):
        grid.shape_yx = (1, 1)


@pytest.mark.parametrize(
    "transform",
    [
        Affine(math.nan, 0, 399960, 0, -20, 5000040),
        Affine(10, 0, math.inf, 0, -20, 5000040),
        Affine(1e307, 0, 0, 0, -20, 0),
        Affine(0, 0, 399960, 0, -20, 5000040),
        Affine(10, 20, 0, 10, 20, 0),
    ],
    ids=["nan", "inf", "overflow", "no width", "flat"],
)
def test_numbers_of_a_damaged_file_are_no_place(transform):
    grid = Grid(CRS.from_epsg(32632), transform, SHAPE_YX)
    assert not grid.has_place
    assert str(grid).endswith("no georeference")
