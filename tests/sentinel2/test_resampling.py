"""Resampling, held against scipy, block means and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from geodecloud.sentinel2.resampling import plan_nearest, plan_taps, resample

SIZES = st.tuples(st.integers(2, 40), st.integers(1, 40))


def whole(source: np.ndarray, shape_yx: tuple[int, int], nodata: int = 0) -> np.ndarray:
    rows = plan_taps(0, shape_yx[0], shape_yx[0], source.shape[0])
    cols = plan_taps(0, shape_yx[1], shape_yx[1], source.shape[1])
    return resample(source, rows, cols, nodata)


def dn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 5000, shape).astype(np.uint16)


@pytest.mark.parametrize("shape_yx", [(439, 439), (438, 657), (219, 219)])
def test_finer_is_bilinear(shape_yx: tuple[int, int]) -> None:
    source = dn(219, 219)
    y, x = ((np.arange(n) + 0.5) * 219 / n - 0.5 for n in shape_yx)
    expected = map_coordinates(
        source.astype(float), np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest"
    )
    np.testing.assert_allclose(whole(source, shape_yx), expected, atol=0.501)


def test_coarser_is_the_mean() -> None:
    source = dn(60, 84)
    expected = source.reshape(10, 6, 14, 6).mean(axis=(1, 3))
    np.testing.assert_allclose(whole(source, (10, 14)), expected, atol=0.501)


def test_coarser_by_no_whole_number_weighs_by_area() -> None:
    source = dn(43, 43)
    fine = np.repeat(np.repeat(source.astype(float), 7, axis=0), 7, axis=1)
    expected = fine.reshape(7, 43, 7, 43).mean(axis=(1, 3))
    np.testing.assert_allclose(whole(source, (7, 7)), expected, atol=0.501)


@given(SIZES, SIZES, st.integers(0, 10**6))
def test_windows_make_up_the_whole(
    sizes: tuple[int, int], others: tuple[int, int], seed: int
) -> None:
    """Any window, from only the pixels its taps ask for, is that part of the whole."""
    (height, start), (width, left) = sizes, others
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 4, (max(1, start), max(1, left))).astype(np.uint16) * 700
    expected = whole(source, (height, width))
    top, first = int(rng.integers(0, height)), int(rng.integers(0, width))
    rows = plan_taps(top, height, height, source.shape[0])
    cols = plan_taps(first, width, width, source.shape[1])
    part = source[slice(*rows.span), slice(*cols.span)]
    np.testing.assert_array_equal(resample(part, rows, cols, 0), expected[top:, first:])
    for taps in (rows, cols):
        np.testing.assert_allclose(taps.weight.sum(axis=0), 1)
        assert (taps.weight >= 0).all()


@given(st.integers(5, 30), st.integers(5, 90), st.integers(0, 10**6))
def test_nodata_does_not_bleed(size: int, target: int, seed: int) -> None:
    """Whatever number stands for nodata, the valid pixels come out the same."""
    rng = np.random.default_rng(seed)
    source = rng.integers(1000, 1100, (size, size)).astype(np.uint16)
    gap = rng.random((size, size)) < 0.2
    zero = whole(np.where(gap, 0, source).astype(np.uint16), (target, target))
    high = whole(np.where(gap, 65535, source).astype(np.uint16), (target, target), nodata=65535)
    np.testing.assert_array_equal(zero == 0, high == 65535)
    valid = zero != 0
    np.testing.assert_array_equal(zero[valid], high[valid])
    assert ((zero[valid] >= 1000) & (zero[valid] < 1100)).all()


def test_no_valid_pixel_becomes_nodata() -> None:
    source = np.full((4, 4), 1, np.int16)
    source[::2, ::2] = source[1::2, 1::2] = -1
    assert (whole(source, (2, 2)) == 1).all()  # the mean is 0, which is nodata


@pytest.mark.parametrize(("size", "source_size"), [(439, 219), (12, 6), (7, 7), (5, 11)])
def test_nearest_takes_the_pixel_under_the_centre(size: int, source_size: int) -> None:
    expected = [int((i + 0.5) / size * source_size) for i in range(size)]
    assert plan_nearest(0, size, size, source_size).tolist() == expected
