"""The ground that clear parts suggest under clouds: means of blocks, carried to where nothing is clear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.models.card import PRIOR_PX
from geodecloud.restore.ground_around import (
    RIM_REACH_PX,
    GroundAround,
    block_sums,
    carry_ground,
    finer,
)
from geodecloud.windows.tiler import Window


def test_a_block_is_the_mean_of_its_clear_pixels_and_their_share():
    rng = np.random.default_rng(1)
    image = rng.random((2, 19, 26), np.float32)
    clear = rng.random((19, 26)) < 0.6
    clear[8:16, 16:24] = False
    image[:, ~clear] = np.nan
    total, share = block_sums(image, clear)
    assert total.shape == (2, 3, 4)
    for y, x in np.ndindex(share.shape):
        block = np.s_[y * 8 : y * 8 + 8, x * 8 : x * 8 + 8]
        seen = image[:, *block][:, clear[block]]
        assert share[y, x] == pytest.approx(seen.shape[1] / 64)
        np.testing.assert_allclose(total[:, y, x], seen.sum(axis=1) / 64, rtol=1e-5)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 99))
def test_even_ground_is_carried_as_it_is_and_nothing_invents_a_colour(height, width, seed):
    rng = np.random.default_rng(seed)
    clear = rng.random((height, width)) < rng.choice([0.01, 0.3, 1.0])
    image = np.full((2, height, width), 0.2, np.float32)
    image[1] = rng.random((height, width), np.float32)
    image[0, ~clear] = 9
    planes = carry_ground(*block_sums(image, clear))
    if not clear.any():
        assert (planes[:-1] == 0).all()
        assert (planes[-1] == 1).all()
        return
    np.testing.assert_allclose(planes[0], 0.2, atol=1e-5)
    seen = image[1][clear]
    assert planes[1].min() >= seen.min() - 1e-5
    assert planes[1].max() <= seen.max() + 1e-5
    assert planes[-1].min() >= 0
    assert planes[-1].max() <= 1 + 1e-6


def test_the_nearer_the_clear_ground_the_better_it_is_known():
    clear = np.ones((256, 256), bool)
    clear[64:192, 64:192] = False
    y, x = np.mgrid[:256, :256].astype(np.float32) / 256
    planes = carry_ground(*block_sums(np.stack([y, x]), clear))
    unknown = planes[-1, 16]
    assert (np.diff(unknown[2:16]) >= -0.02).all()
    assert unknown[16] > 0.25 > 0.1 > unknown[1]
    # under a hole of 128 px a slope goes on in the middle of it
    np.testing.assert_allclose(planes[:2, 16, 16], 131.5 / 256, atol=0.03)


@given(st.integers(20, 90), st.integers(20, 90), st.data())
def test_the_prior_of_a_window_is_that_of_the_scene_cut_out(height, width, data):
    rng = np.random.default_rng(height * width)
    image, clear = rng.random((2, height, width), np.float32), rng.random((height, width)) < 0.4
    blocks = data.draw(st.sampled_from([2, 4]))
    around = GroundAround(carry_ground(*block_sums(image, clear)))
    whole = finer(around.planes, PRIOR_PX // blocks)
    top, left = (data.draw(st.integers(0, (n - 1) // PRIOR_PX)) * PRIOR_PX for n in (height, width))
    rows, cols = (
        data.draw(st.integers(1, (n - begin) // PRIOR_PX + 1)) * PRIOR_PX
        for n, begin in ((height, top), (width, left))
    )
    window = Window(left, top, cols, rows).grow(0, Window(0, 0, width, height))
    y, x = top // blocks, left // blocks
    here = np.s_[:, y : y + -(-window.height // blocks), x : x + -(-window.width // blocks)]
    np.testing.assert_array_equal(around.prior(window, blocks), whole[here])


@given(st.integers(2, 8), st.integers(2, 8))
def test_pixels_and_blocks_say_the_same_of_a_slope(rows, cols):
    height, width = rows * PRIOR_PX, cols * PRIOR_PX
    y, x = np.mgrid[:height, :width].astype(np.float32) / 64
    around = GroundAround(carry_ground(*block_sums(np.stack([y, x]), np.ones(y.shape, bool))))
    window = Window(0, 0, width, height)
    ground, unknown = around.pixels(window)
    means = ground.reshape(2, height // 4, 4, width // 4, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(means, around.prior(window, 4)[:-1], atol=0.01)
    assert unknown.max() < 0.05


def test_how_uneven_clear_ground_is_is_carried_under_clouds():
    """Left even, right of a known spread; what the prior says of the ground stays the same to the bit."""
    rng = np.random.default_rng(7)
    image = np.full((3, 128, 256), 0.2, np.float32)
    image[:, :, 128:] += 0.04 * rng.standard_normal((3, 128, 128), np.float32)
    clear = np.ones((128, 256), bool)
    clear[48:80, 24:56] = clear[48:80, 184:216] = False
    total, share = block_sums(image, clear)
    squares, _ = block_sums(np.square(image).mean(axis=0, keepdims=True), clear)
    around = GroundAround.of(total, share, (), squares[0])
    np.testing.assert_array_equal(around.planes, GroundAround.of(total, share).planes)
    uneven = around.unevenness(Window(0, 0, 256, 128))
    assert uneven[56:72, 32:48].max() < 0.002
    np.testing.assert_allclose(uneven[56:72, 192:208], 0.04, rtol=0.1)
    assert not GroundAround.of(total, share).unevenness(Window(0, 0, 9, 9)).any()


def test_only_where_cloud_hides_the_ground_the_surroundings_stand_in_for_it():
    image = np.full((2, 96, 96), 0.3, np.float32)
    clear = np.ones((96, 96), bool)
    clear[32:64, 32:64] = False
    around = GroundAround(carry_ground(*block_sums(image, clear)))
    made_up = np.full((2, 96, 96), 0.9, np.float32)
    opacity = np.full((96, 96), np.nan, np.float32)
    opacity[32:64, 32:64] = np.linspace(0.3, 1, 32, dtype=np.float32)
    told = np.zeros((96, 96), bool)
    told[40, 33] = True
    window = Window(0, 0, 96, 96)
    filled = around.fill(made_up, opacity, 0.8, window, told)
    assert (filled[:, 72:] == np.float32(0.9)).all()
    assert (filled[:, 32:64, 66] < 0.6).all()  # over the rim of the cloud, whatever its opacity
    assert (filled[:, 32:64, 72:] == np.float32(0.9)).all()
    far = np.hypot(*(n - m for n, m in zip(np.mgrid[:96, :96], (40, 33), strict=True))) > 8
    thin = (opacity < 0.42) & far  # and not in the rim of what is told to hide the ground
    assert (filled[:, thin] == np.float32(0.9)).all()
    np.testing.assert_allclose(filled[:, opacity >= 0.8], 0.3, atol=1e-5)
    np.testing.assert_allclose(filled[:, told], 0.3, atol=1e-5)
    assert (np.diff(filled[0, 50, 44:64]) <= 1e-6).all()  # no edge


def test_where_nothing_is_clear_the_network_has_the_last_word():
    nothing = np.zeros((40, 40), bool)
    around = GroundAround(carry_ground(*block_sums(np.ones((1, 40, 40), np.float32), nothing)))
    made_up, opacity = np.full((1, 40, 40), 0.2, np.float32), np.ones((40, 40), np.float32)
    filled = around.fill(made_up, opacity, 0.8, Window(0, 0, 40, 40))
    np.testing.assert_array_equal(filled, made_up)


def test_what_is_said_of_a_pixel_depends_on_no_more_than_the_rim_around_it():
    rng = np.random.default_rng(5)
    opacity = (rng.random((64, 64)) ** 6).astype(np.float32)
    around = GroundAround(
        np.stack([np.full((8, 8), 0.2, np.float32), np.zeros((8, 8), np.float32)])
    )
    made_up = rng.random((1, 64, 64)).astype(np.float32)
    whole = around.fill(made_up, opacity, 0.6, Window(0, 0, 64, 64))
    part = Window(16, 8, 40, 33)
    filled = around.fill(made_up[:, *part.slices_yx], opacity[part.slices_yx], 0.6, part)
    inner = np.s_[RIM_REACH_PX:-RIM_REACH_PX, RIM_REACH_PX:-RIM_REACH_PX]
    np.testing.assert_array_equal(filled[:, *inner], whole[:, *part.slices_yx][:, *inner])


def test_where_nothing_is_clear_the_usual_ground_stands_if_it_is_known():
    nothing = np.zeros((40, 40), bool)
    around = GroundAround.of(*block_sums(np.ones((2, 40, 40), np.float32), nothing), (0.1, 0.25))
    rng = np.random.default_rng(6)
    made_up, opacity = rng.random((2, 40, 40), np.float32), np.ones((40, 40), np.float32)
    opacity[:, :16] = 0.3  # what thin cloud shows is the network's
    filled = around.fill(made_up, opacity, 0.8, Window(0, 0, 40, 40))
    beyond = np.s_[:, :, 16 + RIM_REACH_PX :]
    usual = np.broadcast_to(np.float32([0.1, 0.25])[:, None, None], (2, 40, 40))
    np.testing.assert_allclose(filled[beyond], usual[beyond], rtol=1e-6)
    thin = np.s_[:, :, : 16 - RIM_REACH_PX]
    np.testing.assert_array_equal(filled[thin], made_up[thin])


def test_the_usual_ground_leaves_alone_what_clear_ground_near_by_tells():
    image, clear = np.full((1, 96, 96), 0.3, np.float32), np.ones((96, 96), bool)
    clear[32:64, 32:64] = False
    sums = block_sums(image, clear)
    made_up, opacity = np.full((1, 96, 96), 0.9, np.float32), np.zeros((96, 96), np.float32)
    opacity[~clear] = 1
    window = Window(0, 0, 96, 96)
    filled = GroundAround.of(*sums, (0.05,)).fill(made_up, opacity, 0.8, window)
    expected = GroundAround.of(*sums).fill(made_up, opacity, 0.8, window)
    np.testing.assert_allclose(filled, expected, atol=1e-6)


def test_far_from_a_clear_corner_its_colour_fades_into_what_is_usual():
    image, clear = np.full((1, 1024, 1024), 0.4, np.float32), np.zeros((1024, 1024), bool)
    clear[:64, :64] = True
    sums = block_sums(image, clear)
    made_up, opacity = np.full((1, 1024, 1024), 0.9, np.float32), np.ones((1024, 1024), np.float32)
    opacity[clear] = 0
    window = Window(0, 0, 1024, 1024)
    along = GroundAround.of(*sums, (0.1,)).fill(made_up, opacity, 0.8, window)[0].diagonal()[80:]
    assert (np.diff(along) < 1e-3).all()  # falls, and nowhere in a step
    assert along[0] > 0.39
    mean = (
        64 * 0.4 + 100 * 0.1
    ) / 164  # of 64 clear blocks, and of as many as count for what is usual
    np.testing.assert_allclose(along[-1], mean, atol=0.01)
