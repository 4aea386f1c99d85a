from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import CoverageError
from geodecloud.windows.stitcher import Mosaic, taper
from geodecloud.windows.tiler import Window, plan_overlapping, plan_windows


@given(st.integers(1, 300), st.integers(0, 200))
def test_taper_is_symmetric_and_never_zero(length, overlap_px):
    weights = taper(length, overlap_px)
    assert weights.shape == (length,)
    assert weights.min() > 0
    assert weights.max() <= 1
    np.testing.assert_array_equal(weights, weights[::-1])


def test_taper_rises_to_one_and_stays_there():
    weights = taper(11, 3)
    # sin^2 of 15, 45 and 75 degrees
    np.testing.assert_allclose(weights[:3], [(2 - 3**0.5) / 4, 0.5, (2 + 3**0.5) / 4])
    np.testing.assert_array_equal(weights[3:8], 1)


@given(st.integers(1, 40), st.integers(0, 60), st.integers(1, 6))
def test_tapers_on_a_regular_lattice_sum_to_one(overlap_px, flat_px, count):
    length = 2 * overlap_px + flat_px
    step = length - overlap_px
    total = np.zeros(step * (count - 1) + length)
    for i in range(count):
        total[i * step : i * step + length] += taper(length, overlap_px)
    np.testing.assert_allclose(total[overlap_px:-overlap_px], 1, atol=1e-12)


@st.composite
def cut_images(draw):
    """An image, a lattice over it, and the part of it that is asked for."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    window_px = draw(st.integers(1, 30))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    region = Window(
        left, top, draw(st.integers(1, width - left)), draw(st.integers(1, height - top))
    )
    image = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(2, height, width))
    return image.astype(np.float32), window_px, draw(st.integers(0, window_px - 1)), region


@given(cut_images())
def test_blending_cuts_of_one_image_gives_the_image_back(cut):
    image, window_px, overlap_px, region = cut
    extent = Window(0, 0, image.shape[2], image.shape[1])
    mosaic = Mosaic(2, region)
    for window in plan_overlapping(extent, window_px, overlap_px, region):
        mosaic.add(window, image[:, *window.slices_yx], overlap_px)
    result = mosaic.result()
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, image[:, *region.slices_yx], atol=1e-6)


@given(cut_images())
def test_placing_cores_gives_the_image_back_bit_by_bit(cut):
    image, window_px, _, region = cut
    extent = Window(0, 0, image.shape[2], image.shape[1])
    mosaic = Mosaic(2, region)
    for plan in plan_windows(region, window_px, 0, extent):
        mosaic.add(plan.core, image[:, *plan.core.slices_yx])
    np.testing.assert_array_equal(mosaic.result(), image[:, *region.slices_yx])


def test_windows_that_disagree_are_averaged_by_their_tapers():
    extent, overlap_px = Window(0, 0, 23, 17), 4
    windows = plan_overlapping(extent, 10, overlap_px, extent)
    rng = np.random.default_rng(7)
    patches = [rng.normal(size=(1, *w.shape_yx)).astype(np.float32) for w in windows]
    mosaic = Mosaic(1, extent)
    for window, patch in zip(windows, patches, strict=True):
        mosaic.add(window, patch, overlap_px)

    expected = np.zeros((17, 23))
    for y, x in np.ndindex(17, 23):
        values, weights = [], []
        for (left, top, width, height), patch in zip(windows, patches, strict=True):
            if left <= x < left + width and top <= y < top + height:
                values.append(patch[0, y - top, x - left])
                across = taper(width, overlap_px)[x - left]
                weights.append(across * taper(height, overlap_px)[y - top])
        expected[y, x] = np.average(values, weights=weights)
    np.testing.assert_allclose(mosaic.result()[0], expected, atol=1e-6)


def test_no_step_is_left_where_one_window_ends():
    extent, overlap_px = Window(0, 0, 56, 1), 16
    mosaic = Mosaic(1, extent)
    for number, window in enumerate(plan_overlapping(extent, 36, overlap_px, extent)):
        mosaic.add(window, np.full((1, 1, 36), number, np.float32), overlap_px)
    row = mosaic.result()[0, 0]
    assert (row[0], row[-1]) == (0, 1)
    assert np.abs(np.diff(row)).max() < 0.11  # a ramp over 16 px; a seam would be 1


@pytest.mark.parametrize("lost", [0, 2, 5])
def test_a_missing_window_is_noticed(lost):
    scene = Window(3, 2, 30, 20)
    cores = [Window(x, y, 10, 10) for y in (2, 12) for x in (3, 13, 23)]
    mosaic = Mosaic(1, scene)
    for number, core in enumerate(cores):
        if number != lost:
            mosaic.add(core, np.ones((1, *core.shape_yx), np.float32))
    with pytest.raises(CoverageError, match=r"^100 pixels .* written by no window"):
        mosaic.result()


def test_an_empty_mosaic_is_no_result():
    with pytest.raises(CoverageError, match="6 pixels"):
        Mosaic(4, Window(0, 0, 3, 2)).result()
