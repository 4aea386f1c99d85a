from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt, gaussian_filter

from geodecloud.restore.composite import (
    FEATHER_PX,
    MARGIN_PX,
    Provenance,
    add_margin,
    classify_pixels,
    feather,
    fill_gaps,
    hiding_share,
)
from geodecloud.windows.tiler import Window


def blobs(height, width, seed, share, smooth=3.0):
    """A mask of smooth blobs that covers about `share` of the pixels."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), smooth)
    return field > np.quantile(field, 1 - share)


shares = st.floats(0.02, 0.98)
seeds = st.integers(0, 10_000)
sides = st.integers(1, 50)


@st.composite
def crops(draw):
    """A scene's shape and a part of it."""
    height, width = draw(sides), draw(sides)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    core = Window(left, top, draw(st.integers(1, width - left)), draw(st.integers(1, height - top)))
    return Window(0, 0, width, height), core


def nearest(mask):
    """Distance of every pixel to the nearest of `mask`, by looking at them all."""
    height, width = mask.shape
    rows, cols = np.nonzero(mask)
    y, x = np.mgrid[:height, :width]
    return np.hypot(y[..., None] - rows, x[..., None] - cols).min(axis=-1)


@given(sides, sides, seeds, shares, shares)
def test_feather_is_zero_exactly_outside_and_above_zero_inside(height, width, seed, share, kept):
    replace = blobs(height, width, seed, share)
    keep = ~replace & blobs(height, width, seed + 1, kept)
    weight = feather(replace, keep)
    assert (weight[~replace] == 0).all()
    assert (weight[replace] > 0).all()
    assert (weight <= 1).all()


def test_feather_is_the_smoothstep_of_the_distance_to_what_stays():
    replace = blobs(31, 23, seed=5, share=0.6)
    keep = ~replace & blobs(31, 23, seed=6, share=0.7)
    ramp = np.minimum(nearest(keep) / 5, 1)
    expected = np.where(replace, 3 * ramp**2 - 2 * ramp**3, 0)
    np.testing.assert_allclose(feather(replace, keep), expected, atol=1e-12)


@given(height=sides, width=sides, seed=seeds, share=shares)
def test_feather_is_that_of_a_distance_transform(height, width, seed, share):
    """To the last bit, with scipy's exact Euclidean distances."""
    keep = np.random.default_rng(seed).random((height, width)) < share**4  # few, often
    replace = ~keep
    distance = distance_transform_edt(replace) if keep.any() else np.inf
    ramp = np.clip(distance / (FEATHER_PX + 1), 0, 1)
    expected = np.where(replace, ramp * ramp * (3 - 2 * ramp), 0.0)
    np.testing.assert_array_equal(feather(replace, keep), expected)


def test_feather_rises_steadily_from_an_edge_and_reaches_one():
    replace = np.zeros((7, 30), bool)
    replace[:, 12:] = True
    weight = feather(replace, ~replace)
    assert (weight == weight[0]).all()
    row = weight[0]
    assert (row[:12] == 0).all()
    assert (np.diff(row[11 : 12 + FEATHER_PX + 1]) > 0).all()
    assert (row[12 + FEATHER_PX :] == 1).all()
    assert row[12 + FEATHER_PX - 1] < 1


def test_feather_is_one_next_to_nodata_and_at_the_edge_of_the_scene():
    replace = np.zeros((20, 40), bool)
    replace[:, 5:30] = True
    nodata = np.zeros_like(replace)
    nodata[:, 30:] = True
    weight = feather(replace, keep=~replace & ~nodata)
    assert (weight[:, 29] == 1).all()
    assert (weight[[0, -1], 15] == 1).all()
    assert (weight[:, 5] < 0.5).all()


@pytest.mark.parametrize("full", [True, False])
def test_feather_where_all_or_nothing_is_replaced(full):
    replace = np.full((5, 3), full)
    np.testing.assert_array_equal(feather(replace, ~replace), replace.astype(float))


@given(crops(), seeds, shares, shares)
def test_feather_does_not_depend_on_how_the_scene_is_cut(crop, seed, share, kept):
    scene, core = crop
    replace = blobs(*scene.shape_yx, seed, share)
    keep = ~replace & blobs(*scene.shape_yx, seed + 1, kept)
    padded = core.grow(FEATHER_PX, within=scene)
    part = feather(replace[padded.slices_yx], keep[padded.slices_yx])
    np.testing.assert_array_equal(
        part[core.relative_to(padded).slices_yx], feather(replace, keep)[core.slices_yx]
    )


@given(crops(), seeds, st.floats(0.002, 0.9))
def test_margin_does_not_depend_on_how_the_scene_is_cut(crop, seed, share):
    scene, core = crop
    cloud = blobs(*scene.shape_yx, seed, share, smooth=1)
    padded = core.grow(MARGIN_PX, within=scene)
    part = add_margin(cloud[padded.slices_yx])
    np.testing.assert_array_equal(
        part[core.relative_to(padded).slices_yx], add_margin(cloud)[core.slices_yx]
    )


def test_margin_reaches_five_px_in_all_directions_alike():
    cloud = blobs(41, 53, seed=2, share=0.03, smooth=1)
    np.testing.assert_array_equal(add_margin(cloud), nearest(cloud) <= 5)


@pytest.mark.parametrize("full", [True, False])
def test_margin_of_all_or_nothing(full):
    cloud = np.full((4, 9), full)
    np.testing.assert_array_equal(add_margin(cloud), cloud)


def test_fill_is_the_mean_of_the_usable_pixels_in_reach():
    rng = np.random.default_rng(3)
    image = rng.random((2, 17, 23)).astype(np.float32)
    usable = blobs(17, 23, seed=9, share=0.3, smooth=1.5)
    filled = fill_gaps(image, usable, radius_px=2)
    assert filled.dtype == np.float32
    alone = 0
    for y, x in np.ndindex(17, 23):
        around = np.s_[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        near = usable[around]
        if usable[y, x]:
            expected = image[:, y, x]
        elif near.any():
            expected = image[:, *around][:, near].mean(axis=1)
        else:
            expected, alone = [0, 0], alone + 1
        np.testing.assert_allclose(filled[:, y, x], expected, atol=1e-6)
    assert alone > 10  # the mask must hold pixels without a usable neighbour


@given(sides, sides, seeds, shares, st.integers(1, 12))
def test_fill_ignores_what_unusable_pixels_hold_and_keeps_the_others(
    height, width, seed, share, radius_px
):
    image = np.random.default_rng(seed).random((3, height, width)).astype(np.float32)
    usable = blobs(height, width, seed, share)
    spoilt = np.where(usable, image, np.float32(np.nan))
    spoilt[0, ~usable] = np.inf
    spoilt[1, ~usable] = -1e30
    filled = fill_gaps(spoilt, usable, radius_px)
    np.testing.assert_array_equal(filled, fill_gaps(image, usable, radius_px))
    np.testing.assert_array_equal(filled[:, usable], image[:, usable])
    assert np.isfinite(filled).all()
    assert filled.min() >= -1e-6
    assert filled.max() <= 1 + 1e-6


@settings(max_examples=50)
@given(crops(), seeds, shares, st.integers(1, 12))
def test_fill_does_not_depend_on_how_the_scene_is_cut(crop, seed, share, radius_px):
    scene, core = crop
    image = np.random.default_rng(seed).random((2, *scene.shape_yx)).astype(np.float32)
    usable = blobs(*scene.shape_yx, seed, share)
    padded = core.grow(radius_px, within=scene)
    part = fill_gaps(image[:, *padded.slices_yx], usable[padded.slices_yx], radius_px)
    np.testing.assert_allclose(
        part[:, *core.relative_to(padded).slices_yx],
        fill_gaps(image, usable, radius_px)[:, *core.slices_yx],
        atol=1e-6,
    )


def test_fill_without_a_usable_pixel_is_zero():
    image = np.full((2, 5, 7), np.nan, np.float32)
    np.testing.assert_array_equal(fill_gaps(image, np.zeros((5, 7), bool), 3), np.zeros((2, 5, 7)))


@st.composite
def judged(draw):
    """valid, usable, is_cloud, hidden, allowed of a scene; usable pixels are valid."""
    shape, seed = (draw(sides), draw(sides)), draw(seeds)
    valid, usable, is_cloud, hidden, allowed = (
        blobs(*shape, seed + i, draw(shares), smooth=1.5) for i in range(5)
    )
    return valid, usable & valid, is_cloud, hidden, allowed


@given(judged(), st.booleans())
def test_every_pixel_gets_the_one_code_that_tells_what_happens_to_it(masks, strict):
    decision = classify_pixels(*masks, strict)
    assert decision.provenance.dtype == np.uint8
    for index, code in np.ndenumerate(decision.provenance):
        valid, usable, is_cloud, hidden, allowed = (bool(mask[index]) for mask in masks)
        if not valid:
            expected = 0
        elif not is_cloud or not allowed:
            expected = 1
        elif not usable or (strict and hidden):
            expected = 4
        else:
            expected = 3 if hidden else 2
        assert code == expected


@given(judged(), st.booleans())
def test_weight_is_above_zero_exactly_where_the_code_says_so(masks, strict):
    valid, usable, is_cloud, hidden, allowed = masks
    decision = classify_pixels(*masks, strict)
    replaced = np.isin(decision.provenance, [Provenance.RESTORED, Provenance.SYNTHESISED])
    np.testing.assert_array_equal(decision.weight > 0, replaced)
    assert (decision.weight[~allowed | ~valid | ~usable | ~is_cloud] == 0).all()
    if strict:
        assert (decision.weight[hidden] == 0).all()
        assert not (decision.provenance == Provenance.SYNTHESISED).any()


def test_the_seam_to_ground_left_hidden_is_soft_too():
    all_of_it = np.ones((9, 30), bool)
    hidden = np.zeros_like(all_of_it)
    hidden[:, :10] = True
    strict = classify_pixels(all_of_it, all_of_it, all_of_it, hidden, all_of_it, strict=True)
    assert (np.diff(strict.weight[0, 9:15]) > 0).all()
    loose = classify_pixels(all_of_it, all_of_it, all_of_it, hidden, all_of_it, strict=False)
    assert (loose.weight == 1).all()


def test_nodata_beside_a_cloud_does_not_soften_it():
    valid = np.ones((9, 30), bool)
    valid[:, :10] = False
    all_of_it = np.ones_like(valid)
    decision = classify_pixels(valid, valid, all_of_it, ~all_of_it, all_of_it, strict=False)
    np.testing.assert_array_equal(decision.weight, valid.astype(float))


def test_hiding_begins_below_the_opacity_that_hides_and_is_whole_at_it():
    """By hand: the smoothstep of 0, 1/4, 1/2, 3/4 and 1 of the way from 0.5 to 0.7."""
    opacity = np.array([[0.0, 0.5, 0.55, 0.6, 0.65, 0.7, 1.0]], np.float32)
    share = hiding_share(opacity, opaque=0.7)
    assert share.dtype == np.float32
    expected = [[0, 0, 5 / 32, 0.5, 27 / 32, 1, 1]]
    np.testing.assert_allclose(share, expected, atol=1e-5)


def test_fill_takes_single_pixels_in_a_wide_reach_for_known():
    """One usable pixel in a square of 41 x 41 fills all of it, and nothing beyond."""
    image = np.full((1, 60, 60), np.nan, np.float32)
    image[0, 25, 30] = 0.25
    filled = fill_gaps(image, np.isfinite(image[0]), radius_px=20)
    expected = np.zeros((1, 60, 60))
    expected[0, 5:46, 10:51] = 0.25
    np.testing.assert_allclose(filled, expected, atol=1e-6)


def test_a_reach_of_nothing_fills_nothing():
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    np.testing.assert_array_equal(fill_gaps(image, image[0] > 5, radius_px=0), image)
