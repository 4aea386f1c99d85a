"""Shadows of clouds are lit by what they took, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.options import Options
from geodecloud.pipeline import decloud
from geodecloud.restore.composite import Provenance
from geodecloud.restore.ground_around import block_means, block_sums
from geodecloud.restore.relight import BLUR_REACH_PX, SHADOW_OPACITY, Light, Shadows
from geodecloud.restore.shade import Shade, shifted
from geodecloud.training.clouds import fractal_field
from geodecloud.windows.tiler import Window

BANDS = ("B02", "B03", "B04", "B08")
LIGHT = Light.of(BANDS, [492, 560, 665, 833])
#: Sun in the east: shadows lie in the west of their clouds.
AZIMUTH_DEG, SHIFT_PX = 90.0, 88


def fields(side, seed=3):
    """Reflectance of fields (4, side, side), the near infrared between 0.2 and 0.4, and a lake in a corner."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    kind = rng.random((side // 24 + 2, side // 31 + 2))[y // 24, x // 31]
    ground = np.stack(
        [0.03 + 0.02 * kind, 0.05 + 0.03 * kind, 0.04 + 0.05 * kind, 0.4 - 0.2 * kind]
    )
    ground += 0.002 * rng.standard_normal(ground.shape)
    ground[:, :60, :60] = np.array([0.05, 0.045, 0.03, 0.012])[:, None, None]
    return ground.astype(np.float32)


def scene(side=400, share=0.6, seed=3):
    """Cloudy reflectance, the ground without clouds, opacity and shadow, of which `share` is taken."""
    ground = fields(side, seed)
    field = fractal_field(2 * side, 3.4, np.random.default_rng(seed))[:side, :side]
    opacity = np.clip(3 * (field - 1.0), 0, 1)
    shadow = shifted(opacity, 0, -SHIFT_PX)
    takes = share * np.array(LIGHT.takes)[:, None, None]
    cloudy = (1 - opacity) * ground * (1 - takes * shadow) + 0.7 * opacity
    return cloudy.astype(np.float32), ground, opacity, shadow


def array(reflectance):
    return xr.DataArray(
        np.rint(reflectance * 1e4).astype(np.uint16),
        dims=("band", "y", "x"),
        attrs={"long_name": BANDS, "scale_factor": 1e-4, "add_offset": 0.0, "SUN_AZIMUTH": 90.0},
    )


def blocks_of(cloudy, opacity, shadow):
    ground = opacity < 0.4
    dark, known = block_sums(cloudy[[3]], ground)
    thrown = block_means(shadow.astype(np.float32))
    return Shade(thrown, thrown), dark[0], known


@pytest.mark.parametrize("share", [0.3, 0.45, 0.6, 0.7])
def test_what_shadows_take_is_told_by_the_scene(share):
    cloudy, _, opacity, shadow = scene(share=share)
    found = Shadows.of(*blocks_of(cloudy, opacity, shadow), LIGHT)
    assert found is not None
    assert abs(found.share - share) < 0.1
    core, far = block_means(shadow.astype(np.float32)) > 0.9, block_means(shadow) == 0
    lit = block_means((opacity < 0.05).astype(np.float32)) == 1
    assert found.blocks[core & lit].mean() > 0.9
    assert found.blocks[far].max() == 0


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_where_it_is_no_darker_there_are_no_shadows(share):
    cloudy, _, opacity, shadow = scene(share=share)
    assert Shadows.of(*blocks_of(cloudy, opacity, shadow), LIGHT) is None


def test_lit_pixels_come_near_the_ground_and_others_stay_as_they_are():
    cloudy, ground, opacity, shadow = scene()
    found = Shadows.of(*blocks_of(cloudy, opacity, shadow), LIGHT)
    height, width = opacity.shape
    window, reach = Window(0, 0, width, height), BLUR_REACH_PX
    image = np.pad(cloudy, ((0, 0), (reach, reach), (reach, reach)), "edge")
    seen = np.where(opacity > 0.01, opacity, 0).astype(np.float32)
    usual = np.full(opacity.shape, 0.3, np.float32)
    lit, map_ = found.relight(image, usual, cloudy, seen, window)
    changed = (lit != cloudy).any(axis=0)
    assert changed[shadow == 0].mean() < 0.02
    np.testing.assert_allclose(map_[~changed], seen[~changed], atol=1e-3)
    assert map_[changed & (seen < SHADOW_OPACITY)].max() <= np.float32(SHADOW_OPACITY)
    dark = (shadow > 0.9) & (opacity == 0)
    lake = np.zeros_like(dark)
    lake[:60, :60] = True
    before, after = (np.abs(each - ground).mean(axis=0) for each in (cloudy, lit))
    assert after[dark & ~lake].mean() < 0.35 * before[dark & ~lake].mean()
    assert not changed[4:56, 4:56].any()  # water is dark by itself


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 99), st.integers(1, 99))
def test_a_window_is_lit_as_the_whole_is(top, left, height, width):
    cloudy, _, opacity, shadow = scene()
    found = Shadows.of(*blocks_of(cloudy, opacity, shadow), LIGHT)
    reach, side = BLUR_REACH_PX, opacity.shape[0]
    image = np.pad(cloudy, ((0, 0), (reach, reach), (reach, reach)), "edge")
    seen, usual = opacity.astype(np.float32), np.full(opacity.shape, 0.3, np.float32)
    whole = found.relight(image, usual, cloudy, seen, Window(0, 0, side, side))
    rows, cols = slice(top, top + height), slice(left, left + width)
    around = image[:, top : top + height + 2 * reach, left : left + width + 2 * reach]
    here = Window(left, top, *seen[rows, cols].shape[::-1])
    part = found.relight(around, usual[rows, cols], cloudy[:, rows, cols], seen[rows, cols], here)
    np.testing.assert_array_equal(part[0], whole[0][:, rows, cols])
    np.testing.assert_array_equal(part[1], whole[1][rows, cols])


def test_without_near_infrared_nothing_is_lit():
    assert Light.of(("B02", "B03", "B04"), [492, 560, 665]) is None
    only = Light.of(("B8A", "B12"), [865, 2202])
    assert only.wet is None
    assert only.takes == (1.0, 1.0)


@pytest.fixture(scope="module")
def cleared():
    cloudy, ground, opacity, shadow = scene()
    return array(cloudy), ground, opacity, shadow, decloud(array(cloudy), Options(model="s2-10m"))


def test_a_scene_that_says_where_the_sun_stood_comes_out_without_shadows(cleared):
    cloudy, ground, opacity, shadow, result = cleared
    dark = (shadow > 0.9) & (opacity == 0)
    dark[:70, :70] = False
    before, after = (
        np.abs(each.values * 1e-4 - ground)[3][dark] for each in (cloudy, result.image)
    )
    assert after.mean() < 0.4 * before.mean()
    assert (result.provenance.values[dark] == Provenance.RESTORED).mean() > 0.85
    blind = cloudy.copy()
    del blind.attrs["SUN_AZIMUTH"]
    same = decloud(blind, Options(model="s2-10m", sun_azimuth=AZIMUTH_DEG)).image
    np.testing.assert_array_equal(same.values, result.image.values)


@pytest.mark.parametrize(("chunks", "window"), [((101, 400), "auto"), ((230, 170), 128)])
def test_no_pixel_that_is_lit_depends_on_the_cut(cleared, chunks, window):
    cloudy, *_, result = cleared
    lazy = cloudy.chunk(dict(zip(("y", "x"), chunks, strict=True)))
    cut = decloud(lazy, Options(model="s2-10m", window=window))
    np.testing.assert_array_equal(cut.image.values, result.image.values)
    np.testing.assert_array_equal(cut.provenance.values, result.provenance.values)
