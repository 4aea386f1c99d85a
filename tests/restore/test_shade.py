"""Where clouds may throw their shadow: the distance is found, and nothing is made up where nothing is dark."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import make_toy_model
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import OptionError
from geodecloud.options import Options
from geodecloud.pipeline import decloud
from geodecloud.restore.shade import cast, cast_shade, shifted, throws_shadow
from geodecloud.scene.grid import Grid
from geodecloud.scene.sun import sun_azimuth_deg
from geodecloud.training.clouds import fractal_field

#: Side of a block in m, of pixels of 10 m.
BLOCK_M = 80.0


def sky(azimuth_deg, distance, side=128, seed=0, depth=0.5):
    """Opacity, ground and share of blocks under clouds whose shadows lie `distance` blocks away; and the shadow."""
    rng = np.random.default_rng(seed)
    field = fractal_field(side, 3.0, rng)
    opacity = np.clip(2 * (field - 0.8), 0, 1)
    azimuth = math.radians(azimuth_deg)
    move = round(distance * math.cos(azimuth)), round(-distance * math.sin(azimuth))
    shadow = shifted(opacity, *move)
    ground = 0.25 + 0.05 * fractal_field(side, 2.0, rng)
    share = (opacity < 0.4).astype(np.float32)
    return opacity, (ground * (1 - depth * shadow) * share).astype(np.float32), share, shadow


@given(
    st.integers(0, 19),
    st.integers(0, 19),
    st.floats(0, 359.9),
    st.integers(1, 9),
    st.integers(0, 6),
)
def test_a_cloud_is_thrown_along_the_line_away_from_the_sun(y, x, azimuth_deg, near, more):
    opacity = np.zeros((20, 20), np.float32)
    opacity[y, x] = 1
    azimuth = math.radians(azimuth_deg)
    shade = cast(opacity, (math.cos(azimuth), -math.sin(azimuth)), near, near + more)
    for row, col in np.argwhere(shade):
        # half a block off at most along each axis, by rounding
        down, right = row - y, col - x
        assert near - 0.8 <= math.hypot(down, right) <= near + more + 0.8
        across = down * math.sin(azimuth) + right * math.cos(azimuth)
        assert abs(across) <= 0.75
    ends = [(y + d * math.cos(azimuth), x - d * math.sin(azimuth)) for d in (near, near + more)]
    for row, col in ends:
        if 0 <= round(row) < 20 and 0 <= round(col) < 20:
            assert shade[round(row), round(col)] == 1


@pytest.mark.parametrize("azimuth_deg", [20.0, 145.0, 265.0])
@pytest.mark.parametrize("told", [True, False])
def test_the_distance_of_shadows_is_found(azimuth_deg, told):
    for seed, distance in enumerate((6, 13, 27)):
        opacity, ground, share, shadow = sky(azimuth_deg, distance, seed=seed)
        given_deg = azimuth_deg + 3 if told else None
        shade = cast_shade(opacity, ground, share, BLOCK_M / 8, given_deg).blocks
        dark = shadow > 0.5
        assert shade[dark].mean() > 0.9
        assert shade[~dark & (opacity < 0.1)].mean() < 0.35


def test_where_nothing_is_dark_nothing_is_told_without_the_sun():
    for seed in range(8):
        opacity, ground, share, _ = sky(150, 12, seed=seed, depth=0)
        assert not cast_shade(opacity, ground, share, BLOCK_M / 8, None).blocks.any()


def test_where_no_distance_stands_out_the_sun_alone_tells_the_direction():
    opacity, ground, share, _ = sky(90, 12, depth=0)
    shade = cast_shade(opacity, ground, share, BLOCK_M / 8, 90.0).blocks
    cloud = throws_shadow(opacity)
    expected = np.zeros_like(cloud)  # westward, 200 m to 2.5 km
    for step in range(2, 32):
        expected[:, :-step] = np.maximum(expected[:, :-step], cloud[:, step:])
    np.testing.assert_allclose(shade, expected)


def test_without_clouds_there_is_no_shade():
    nothing = np.zeros((64, 64), np.float32)
    for azimuth_deg in (None, 120.0):
        assert not cast_shade(nothing, nothing + 0.2, nothing + 1, 10.0, azimuth_deg).blocks.any()


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, None),
        ({"SUN_AZIMUTH": "154.25"}, 154.25),
        ({"sun_azimuth": "-30"}, 330.0),
        ({"SUN_AZIMUTH_DEG": "10", "SUN_AZIMUTH": "20"}, 10.0),
        ({"SUN_AZIMUTH": "south"}, None),
        ({"SUN_AZIMUTH": "nan"}, None),
    ],
)
def test_tags_say_where_the_sun_stood(tags, expected):
    from affine import Affine

    assert sun_azimuth_deg(tags, Grid(None, Affine.identity(), (4, 4))) == expected


def test_on_a_turned_grid_the_tag_does_not_hold():
    from affine import Affine
    from rasterio.crs import CRS

    turned = Grid(CRS.from_epsg(32632), Affine.rotation(30) * Affine.scale(10, -10), (4, 4))
    assert sun_azimuth_deg({"SUN_AZIMUTH": "150"}, turned) is None


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shade")
    return make_toy_model(
        folder / "toy.safetensors", blocks=4, prior=True, shade=True, direction_weights=False
    )


def cloudy(side=260):
    rng = np.random.default_rng(8)
    opacity = np.clip(2 * (fractal_field(2 * side, 3.2, rng)[:side, :side] - 0.5), 0, 1)
    ground = 0.1 + 0.03 * rng.random((4, side, side))
    shadow = 0.5 * shifted(opacity, 60, 0)
    dn = np.rint(1e4 * ((1 - opacity) * (1 - shadow) * ground + 0.6 * opacity)).astype(np.uint16)
    return xr.DataArray(
        dn,
        dims=("band", "y", "x"),
        attrs={"long_name": ("B02", "B03", "B04", "B08"), "scale_factor": 1e-4, "add_offset": 0.0},
    )


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_no_pixel_depends_on_how_the_scene_is_cut(toy, backend):
    scene = cloudy()
    options = Options(model=toy, mask="none", backend=backend, sun_azimuth=0.0)
    whole = decloud(scene, options).image.values
    for chunks, window in (((101, 260), "auto"), ((130, 90), 96)):
        lazy = scene.chunk(dict(zip(("y", "x"), chunks, strict=True)))
        cut = Options(model=toy, mask="none", backend=backend, sun_azimuth=0.0, window=window)
        np.testing.assert_array_equal(decloud(lazy, cut).image.values, whole)
    elsewhere = Options(model=toy, mask="none", backend=backend, sun_azimuth=90.0)
    assert (decloud(scene, elsewhere).image.values != whole).any()


def test_an_attribute_of_an_array_says_what_the_option_says(toy):
    scene = cloudy(96)
    said = decloud(scene, Options(model=toy, mask="none", sun_azimuth=200.0))
    scene.attrs["SUN_AZIMUTH"] = 200.0
    told = decloud(scene, Options(model=toy, mask="none"))
    assert told.decisions.sun_azimuth_deg == said.decisions.sun_azimuth_deg == 200.0
    np.testing.assert_array_equal(told.image.values, said.image.values)


def test_an_azimuth_that_is_no_direction_is_refused():
    with pytest.raises(OptionError, match="sun_azimuth"):
        Options(sun_azimuth=float("nan"))
