from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import CoverageError
from geodecloud.windows.stitcher import Mosaic
from geodecloud.windows.tiler import Window, plan_windows


@st.composite
def cut_images(draw):
    """An image, a window's side and halo, and the part of it that is asked for."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    region = Window(
        left, top, draw(st.integers(1, width - left)), draw(st.integers(1, height - top))
    )
    image = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(2, height, width))
    return image.astype(np.float32), draw(st.integers(1, 30)), draw(st.integers(0, 20)), region


@given(cut_images())
def test_placing_cores_of_one_image_gives_the_image_back(cut):
    image, window_px, halo_px, region = cut
    extent = Window(0, 0, image.shape[2], image.shape[1])
    mosaic = Mosaic(2, region)
    for window in plan_windows(region, window_px, halo_px, extent):
        mosaic.place(window.core, image[:, *window.core.slices_yx])
    result = mosaic.image(np.ones(region.shape_yx, bool))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, image[:, *region.slices_yx])


def test_a_wanted_pixel_that_nobody_wrote_is_an_error():
    region = Window(3, 5, 20, 10)
    mosaic = Mosaic(1, region)
    mosaic.place(Window(3, 5, 19, 10), np.ones((1, 10, 19), np.float32))
    wanted = np.zeros(region.shape_yx, bool)
    wanted[:, :19] = True
    assert mosaic.image(wanted)[0, :, 19].max() == 0
    wanted[4, 19] = True
    with pytest.raises(CoverageError, match=r"1 pixels of Window.* by no window, 0 by several"):
        mosaic.image(wanted)


def test_a_pixel_that_two_cores_own_is_an_error():
    region = Window(0, 0, 8, 8)
    mosaic = Mosaic(1, region)
    for left in (0, 3):
        mosaic.place(Window(left, 0, 5, 8), np.ones((1, 8, 5), np.float32))
    with pytest.raises(CoverageError, match="16 by several"):
        mosaic.image(np.ones((8, 8), bool))
