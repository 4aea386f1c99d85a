"""Areas of interest and masks in scenes of any CRS, against pyproj and shapely pixel by pixel."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas
import pyogrio
import pytest
import rasterio
from affine import Affine
from conftest import write_raster
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.transform import from_origin
from shapely import LineString, MultiPolygon, Point, Polygon, box, contains_xy

import geodecloud
from geodecloud.errors import SceneError, SceneIOError
from geodecloud.masks.areas import open_aoi, touches_aoi
from geodecloud.masks.classes import clouds_of
from geodecloud.masks.files import open_mask
from geodecloud.scene.grid import Grid

SHAPE_YX = (101, 203)
DISK = "+proj=geos +h=35785831 +lon_0=140.7 +ellps=GRS80"

#: scenes by what is awkward about where they lie
SCENES = {
    "date line": Grid(
        CRS.from_epsg(32760), from_origin(818000, 8118300, 10, 10), SHAPE_YX
    ),  # 179.986 to -179.995
    "pole": Grid(CRS.from_epsg(3031), from_origin(-1_200_000, 700_000, 12_000, 12_000), SHAPE_YX),
    "disk": Grid(
        CRS.from_string(DISK), from_origin(-5_600_000, 5_600_000, 56_000, 112_000), SHAPE_YX
    ),
    "0 to 360": Grid(CRS.from_epsg(4326), from_origin(0, 90, 360 / 203, 180 / 101), SHAPE_YX),
    "rotated": Grid(CRS.from_epsg(32632), Affine(8, 6, 600000, 6, -8, 7200000), SHAPE_YX),
}

NOTCHED = Polygon(
    [(12, 64.8), (11.115, 64.8), (11.14, 64.905), (11.118, 64.898), (11.125, 64.92)],
    holes=[[(11.14, 64.88), (11.145, 64.89), (11.15, 64.88)]],
)
#: what is asked of them -> (scene, area of interest, its CRS)
AREAS = {
    "both sides of 180": (
        "date line",
        MultiPolygon([box(179.992, -17.003, 180, -17), box(-180, -17.003, -179.997, -17)]),
        4326,
    ),
    "beyond 180": ("date line", box(179.992, -17.003, 180.003, -17), 4326),
    "beyond -180": ("date line", box(-180.008, -17.003, -179.997, -17), 4326),
    "one side of 180": ("date line", box(170, -18, 180, -17), 4326),
    "across 180 in metres": ("date line", box(180_000, 8_117_000, 181_500, 8_118_000), 32701),
    "ring around the pole": ("pole", box(-180, -88, 180, -86), 4326),
    "cap on the pole": ("pole", box(-180, -90, 180, -88), 4326),
    "slice of the pole": ("pole", box(10, -89, 60, -85), 4326),
    "Mercator near the pole": ("pole", box(-15e6, -3e7, 5e6, -1.9e7), 3857),
    "part of the disk": ("disk", box(150, -20, 200, 30), 4326),
    "part of the disk in metres": ("disk", box(1.5e7, -2e6, 1.8e7, 3e6), 3857),
    "more than the disk": ("disk", box(-180, -90, 180, 90), 4326),
    "west of Greenwich": ("0 to 360", box(-40, -20, -10, 50), 4326),
    "a zone of the globe": ("0 to 360", box(-2e6, -1e6, 3e6, 8e6), 32632),
    "around the other pole": ("0 to 360", Point(0, 0).buffer(3e6), 3413),
    "holes and notches": ("rotated", NOTCHED, 4326),
    "smaller than a cell": ("rotated", Point(11.1372, 64.9105).buffer(0.0004), 4326),
}


def vector_file(path: Path, areas: list[Any], epsg: int | None = 4326) -> Path:
    geopandas.GeoDataFrame(geometry=areas, crs=epsg).to_file(path)
    return path


def centres_in(crs: Any, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Where rasterio and pyproj say that the centres of a scene's pixels are."""
    rows, cols = np.indices(grid.shape_yx)
    xs, ys = rasterio.transform.xy(grid.transform, rows.ravel(), cols.ravel())
    xs, ys = Transformer.from_crs(grid.crs, crs, always_xy=True).transform(xs, ys)
    return np.asarray(xs).reshape(grid.shape_yx), np.asarray(ys).reshape(grid.shape_yx)


@pytest.mark.parametrize("name", AREAS)
def test_pixels_are_in_if_their_centres_are(name: str, tmp_path: Path) -> None:
    scene, area, epsg = AREAS[name]
    grid = SCENES[scene]
    xs, ys = centres_in(epsg, grid)
    expected = contains_xy(area, xs, ys)
    if epsg == 4326:
        expected |= contains_xy(area, xs + 360, ys) | contains_xy(area, xs - 360, ys)
    assert 0 < expected.sum() < expected.size
    path = vector_file(tmp_path / "aoi.gpkg", [area], epsg)
    inside = open_aoi(path, grid, (40, 64))
    np.testing.assert_array_equal(inside.compute(scheduler="sync"), expected)
    there = pickle.loads(pickle.dumps(inside))
    np.testing.assert_array_equal(there.compute(scheduler="threads"), expected)
    assert touches_aoi(path, grid)


@pytest.mark.parametrize(
    ("scene", "area"),
    [
        ("date line", box(-30, -18, 30, -16)),
        ("pole", box(-180, -70, 180, -60)),
        ("disk", box(-80, 0, -50, 10)),
        ("rotated", box(-180, -80, 180, -70)),
        ("rotated", Point(11.1372, 64.9105).buffer(1e-8)),  # between four centres
    ],
)
def test_areas_elsewhere_are_refused(scene: str, area: Polygon, tmp_path: Path) -> None:
    path = vector_file(tmp_path / "aoi.gpkg", [area])
    assert not touches_aoi(path, SCENES[scene])
    with pytest.raises(SceneError, match="does not overlap the scene: no pixel has its centre"):
        open_aoi(path, SCENES[scene], SHAPE_YX)


@pytest.mark.parametrize("lat", [48, 65])
def test_edges_are_straight_in_their_own_crs(lat: int, tmp_path: Path) -> None:
    """A parallel from 0 to 20 degrees east, through a tile of Sentinel-2's size."""
    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(7, lat)
    grid = Grid(CRS.from_epsg(32632), from_origin(x - 54_900, y + 54_900, 10, 10), (10_980, 10_980))
    path = vector_file(tmp_path / "aoi.geojson", [box(0, lat - 5, 20, lat)])
    inside = open_aoi(path, grid, (1024, 1024))
    to_lonlat = Transformer.from_crs(32632, 4326, always_xy=True)
    for col in (100, 5490, 10800):
        xs, ys = rasterio.transform.xy(grid.transform, np.arange(10_980), np.full(10_980, col))
        _, lats = to_lonlat.transform(xs, ys)
        np.testing.assert_array_equal(inside[:, col], lats < lat)


def test_threads_ask_geos_one_at_a_time(tmp_path: Path) -> None:
    """Of a window, as in a run: two threads that index one geometry at once end the process."""
    code = """
import pickle, sys
import numpy as np
from affine import Affine
from rasterio.crs import CRS
from geodecloud.masks.areas import open_aoi
from geodecloud.scene.grid import Grid

grid = Grid(CRS.from_epsg(32632), Affine(10, 0, 450000, 0, -10, 7262000), (10_980, 10_980))
area = pickle.dumps(open_aoi(sys.argv[1], grid, (1024, 1024)))
first = pickle.loads(area)[:, 100].compute(scheduler="sync")
for _ in range(40):
    again = pickle.loads(area)[:, 100].compute(scheduler="threads", num_workers=8)
    np.testing.assert_array_equal(again, first)
"""
    path = vector_file(tmp_path / "aoi.geojson", [box(0, 60, 20, 65)])
    ended = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code, path],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_an_area_on_a_real_full_disk(real_data: Path, tmp_path: Path) -> None:
    """From file to file, on a scene of which the corners have no place on the globe."""
    scene = real_data / "conformance" / "rio-cogeo" / "image_geos.tif"
    with rasterio.open(scene) as src:
        grid, valid = Grid.of(src), (src.read() != src.nodata).all(axis=0)
    aoi = vector_file(tmp_path / "aoi.geojson", [box(120, -30, 150, 20)])
    expected = contains_xy(box(120, -30, 150, 20), *centres_in(4326, grid)) & valid
    codes = tmp_path / "codes.tif"
    geodecloud.decloud_scene(
        scene, tmp_path / "out.tif", model="identity", mask="none", aoi=aoi, provenance=codes
    )
    with rasterio.open(codes) as src:
        np.testing.assert_array_equal(np.isin(src.read(1), [2, 3]), expected)


#: masks on grids of their own -> (scene, CRS, transform, shape)
MASKS = {
    "globe and date line": ("date line", 4326, from_origin(-180, 90, 0.5, 0.5), (360, 720)),
    "beyond 180": ("date line", 4326, from_origin(179.99, -16.999, 1e-4, 1e-4), (150, 120)),
    "0 to 360": ("date line", 4326, from_origin(0, 90, 0.5, 0.5), (360, 720)),
    "metres across 180": ("date line", 32701, from_origin(180_000, 8_118_000, 20, 20), (30, 60)),
    "globe and pole": ("pole", 4326, from_origin(-180, 90, 0.5, 0.1), (1800, 720)),
    "part of the pole": ("pole", 4326, from_origin(10, -85, 0.5, 0.1), (50, 100)),
    "globe and disk": ("disk", 4326, from_origin(-180, 90, 1, 1), (180, 360)),
    "0 to 360 and disk": ("disk", 4326, from_origin(0, 90, 1, 1), (180, 360)),
    "globe from -180": ("0 to 360", 4326, from_origin(-180, 90, 1, 1), (180, 360)),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_lie_where_their_pixels_are(name: str, tmp_path: Path) -> None:
    scene, epsg, transform, shape_yx = MASKS[name]
    grid = SCENES[scene]
    mask = np.random.default_rng(1).integers(0, 2, (1, *shape_yx), np.uint8)
    path = write_raster(tmp_path / "mask.tif", mask, crs=f"EPSG:{epsg}", transform=transform)
    xs, ys = centres_in(epsg, grid)
    expected, sure = np.zeros(SHAPE_YX, bool), np.ones(SHAPE_YX, bool)
    for turn in (-360, 0, 360) if epsg == 4326 else (0,):
        cols, rows = (xs + turn - transform.c) / transform.a, (ys - transform.f) / transform.e
        here = (cols >= 0) & (cols < shape_yx[1]) & (rows >= 0) & (rows < shape_yx[0])
        expected[here] = mask[0, rows[here].astype(int), cols[here].astype(int)] > 0
        for places in (rows[here], cols[here]):  # GDAL's transformer is good to 1/1000 px
            sure[here] &= np.abs(places - np.round(places)) > 1e-3
    assert sure.mean() > 0.8
    assert 0 < expected.sum() < expected.size
    clouds = open_mask(path, grid, (40, 64)).compute(scheduler="sync")
    np.testing.assert_array_equal(clouds_of(clouds)[sure] > 0, expected[sure])


def test_masks_elsewhere_are_refused(tmp_path: Path) -> None:
    africa = from_origin(-30, -16, 1, 1)
    path = write_raster(
        tmp_path / "mask.tif", np.ones((1, 2, 60), np.uint8), crs="EPSG:4326", transform=africa
    )
    with pytest.raises(SceneError, match=r"not overlap.*scene is at \(179.996, -17"):
        open_mask(path, SCENES["date line"], SHAPE_YX)


LINE = LineString([(11.11, 64.91), (11.15, 64.91)])


@pytest.mark.parametrize(
    ("areas", "holds"),
    [
        ([LINE], "LineString"),
        ([Point(11.13, 64.91)], "Point"),
        ([LINE, Point(12, 65)], "LineString and Point"),
        ([Polygon([(11.11, 64.91), (11.15, 64.91), (11.13, 64.91)])], "LineString"),
        ([None], "nothing"),
    ],
)
def test_what_has_no_area_is_said_to_have_none(
    areas: list[Any], holds: str, tmp_path: Path
) -> None:
    path = vector_file(tmp_path / "aoi.geojson", areas)
    for ask in (lambda grid: open_aoi(path, grid, SHAPE_YX), lambda grid: touches_aoi(path, grid)):
        with pytest.raises(
            SceneError, match=rf"aoi\.geojson has no area: it holds {holds}, no poly"
        ):
            ask(SCENES["rotated"])


def test_lines_and_points_among_polygons_are_left_out(tmp_path: Path) -> None:
    bow_with_tail = Polygon(
        [
            (11.115, 64.9),
            (11.14, 64.92),
            (11.14, 64.9),
            (11.115, 64.92),
            (11, 64.92),
            (11.115, 64.92),
        ]
    )
    both = vector_file(tmp_path / "both.gpkg", [bow_with_tail, LINE, Point(11.13, 64.91), None])
    bow = [Polygon([(x, 64.9), (11.1275, 64.91), (x, 64.92)]) for x in (11.115, 11.14)]
    grid = SCENES["rotated"]
    expected = contains_xy(MultiPolygon(bow), *centres_in(4326, grid))
    assert 0 < expected.sum() < expected.size
    inside = open_aoi(both, grid, SHAPE_YX).compute(scheduler="sync")
    np.testing.assert_array_equal(inside, expected)


def test_a_file_of_several_layers_is_refused_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "areas.gpkg"
    for layer in ("north", "south"):
        geopandas.GeoDataFrame(geometry=[NOTCHED], crs=4326).to_file(path, layer=layer)
    with pytest.raises(SceneError, match=r"2 layers \(north, south\).*ogr2ogr aoi.gpkg"):
        open_aoi(path, SCENES["rotated"], SHAPE_YX)


def test_tables_beside_one_layer_do_not_count(tmp_path: Path) -> None:
    """As QGIS keeps its styles in a GeoPackage."""
    path, styles = tmp_path / "areas.gpkg", pandas.DataFrame({"style": ["red"]})
    pyogrio.write_dataframe(styles, path, layer="layer_styles")
    with pytest.raises(SceneError, match="table without geometry"):
        open_aoi(path, SCENES["rotated"], SHAPE_YX)
    frame = geopandas.GeoDataFrame(geometry=[NOTCHED], crs=4326)
    frame.to_file(path, layer="area")
    assert open_aoi(path, SCENES["rotated"], SHAPE_YX).any().compute(scheduler="sync")


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("[12, 64.9]", r"area\.geojson cannot be read as a vector file"),
        ("[1e999, 64.9], [12, 64.8]", r"area\.geojson cannot be put together"),
    ],
    ids=["open", "infinite"],
)
def test_outlines_that_are_none_are_told(last: str, told: str, tmp_path: Path) -> None:
    corners = f"[[12, 64.8], [11.1, 64.8], [11.14, 64.9], {last}]"
    geometry = f'{{"type": "Polygon", "coordinates": [{corners}]}}'
    area = tmp_path / "area.geojson"
    area.write_text(f'{{"type": "Feature", "properties": {{}}, "geometry": {geometry}}}')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GDAL and GEOS remark on it, too
        with pytest.raises((SceneError, SceneIOError), match=told):
            open_aoi(area, SCENES["rotated"], SHAPE_YX)
