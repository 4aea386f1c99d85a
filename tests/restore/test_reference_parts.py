"""The parts of the fit to other dates, each against scipy, numpy's least squares, or pixels counted one by one."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pytest
from scipy.ndimage import convolve1d, correlate, map_coordinates

from geodecloud.restore.references import BandIndex, Candidate, Sun, pick_references
from geodecloud.restore.references.coarse import BLOCK_PX, OPEN_SHARES, CoarseField, gather_field
from geodecloud.restore.references.coefficients import Coefficients, Prediction
from geodecloud.restore.references.detect import find_missed_clouds, find_shadows, shaded
from geodecloud.restore.references.holes import NOISE, fill, trust
from geodecloud.restore.references.moments import (
    CellGrid,
    gather,
    group_sample,
    plan_cells,
    smooth_cells,
)
from geodecloud.restore.references.packing import GAP, pack, pack_opacity, unpack, unpack_opacity
from geodecloud.restore.references.pyramid import Carried, carry, interpolate_blocks
from geodecloud.restore.references.ridge import ridge, squares_left
from geodecloud.restore.references.robust import find_ground
from geodecloud.restore.references.sample import Sample, dates_of, plan_stride, take_sample
from geodecloud.restore.references.solve import solve
from geodecloud.windows.tiler import Window

RNG = np.random.default_rng(11)
_START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_numbers():
    """The same in each test, whichever ran before."""
    RNG.bit_generator.state = _START


def carried_by_scipy(values, weight, shares, above=None):
    """`carry` level by level in float64: means of blocks, a binomial filter, linear interpolation."""
    stack = [np.concatenate([weight[None], values]).astype(float)]
    for _ in range(len(shares)):
        rows, cols = (-(-length // 2) for length in stack[-1].shape[1:])
        even = np.zeros((len(stack[-1]), 2 * rows, 2 * cols))
        even[:, : stack[-1].shape[1], : stack[-1].shape[2]] = stack[-1]
        stack.append(even.reshape(-1, rows, 2, cols, 2).mean(axis=(2, 4)))
    top = stack.pop()
    if above is None:
        value = np.zeros((len(values), *top.shape[1:]))
        share = np.ones((shares.shape[1], *top.shape[1:])) * shares[-1][:, None, None]
    else:
        value, share = above.values.astype(float), above.open_share.astype(float)
    for level, own in zip(stack[::-1], shares[::-1], strict=True):
        for axis in (1, 2):
            level = convolve1d(level, np.array([1, 4, 6, 4, 1]) / 16, axis, mode="constant")
        at = np.mgrid[: level.shape[1], : level.shape[2]] / 2 - 0.25
        value, share = (
            np.stack([map_coordinates(band, at, order=1, mode="nearest") for band in bands])
            for bands in (value, share)
        )
        known, sums = level[:1], level[1:]
        value = (sums + 0.03 * value) / (known + 0.03)
        share = (known * own[:, None, None] + 0.03 * share) / (known + 0.03)
    return value, share


SHARES = np.array([[0.5, 0.25], [0.9, 0.6], [1.3, 0.8]], np.float32)


@pytest.mark.parametrize("shape", [(45, 70), (44, 71), (131, 403), (1, 1), (3, 1), (1, 40)])
def test_values_are_carried_as_by_scipy(shape):
    weight = RNG.random(shape, np.float32) * (RNG.random(shape) < 0.3)
    values = RNG.normal(size=(3, *shape)).astype(np.float32) * weight
    found = carry(values, weight.astype(np.float32), SHARES)
    value, share = carried_by_scipy(values, weight, SHARES)
    assert (found.values.dtype, found.open_share.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(found.values, value, atol=2e-5)
    np.testing.assert_allclose(found.open_share, share, atol=2e-5)


def test_values_are_carried_from_above():
    weight = (RNG.random((48, 64)) < 0.1).astype(np.float32)
    values = RNG.normal(size=(2, 48, 64)).astype(np.float32) * weight
    above = Carried(
        RNG.random((2, 6, 8), np.float32) * 5, RNG.random((2, 6, 8), np.float32) + np.float32(1)
    )
    found = carry(values, weight, SHARES, above)
    value, share = carried_by_scipy(values, weight, SHARES, above)
    np.testing.assert_allclose(found.values, value, atol=2e-5)
    np.testing.assert_allclose(found.open_share, share, atol=2e-5)


def test_blocks_are_interpolated_as_by_scipy():
    blocks = RNG.random((2, 4, 5)).astype(np.float32)
    ys, xs = np.linspace(-2, 6, 37), np.linspace(-1.5, 5.7, 29)
    found = interpolate_blocks(blocks, ys, xs)
    at = np.stack(np.meshgrid(ys, xs, indexing="ij"))
    want = np.stack([map_coordinates(b.astype(float), at, order=1, mode="nearest") for b in blocks])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, want, atol=1e-5)


def products_of(features, bands):
    """Moments as the fit takes them: of the ones, the features and the bands."""
    both = np.hstack([np.ones((len(features), 1)), features, bands])
    return both.T @ both


@pytest.mark.parametrize("index", [[0, 1, 2, 3], [0, 1, 3], [0, 2], [0]])
def test_ridge_is_least_squares_with_a_row_for_each_penalty(index):
    penalties, problems = [1e-4, 0.3, 0.03], []
    for _ in penalties:
        x = RNG.normal(size=(60, 3)) * [0.1, 2.0, 0.5] + [0.3, -1.0, 2.0]
        y = x @ RNG.normal(size=(3, 2)) + 0.2 * RNG.normal(size=(60, 2)) + [0.1, 0.7]
        problems.append((x, y))
    index = np.array(index)
    products = np.stack([products_of(*problem) for problem in problems])
    found = ridge(products, index, np.array([4, 5]), np.array(penalties))
    assert found.shape == (3, 2, len(index))
    for (x, y), penalty, got in zip(problems, penalties, found, strict=True):
        x = x[:, index[1:] - 1]
        middle, spread = x.mean(axis=0), x.std(axis=0)
        rows = np.vstack([(x - middle) / spread, math.sqrt(60 * penalty) * np.eye(x.shape[1])])
        goal = np.vstack([y - y.mean(axis=0), np.zeros((x.shape[1], 2))])
        slopes = np.linalg.lstsq(rows, goal, rcond=None)[0] / spread[:, None]
        np.testing.assert_allclose(got[:, 1:], slopes.T, atol=1e-8)
        np.testing.assert_allclose(got[:, 0], y.mean(axis=0) - middle @ slopes, atol=1e-8)
        # what is left, pixel by pixel
        made = got[:, 0] + x @ got[:, 1:].T
        left = squares_left(
            products_of(*(x, y))[None], got[None], np.arange(len(index)), len(index) + np.arange(2)
        )
        np.testing.assert_allclose(left[0], ((y - made) ** 2).sum(axis=0), rtol=1e-8)
    one = ridge(products[:1], index, np.array([4, 5]), penalties[0])
    np.testing.assert_allclose(one, found[:1], rtol=1e-12)


def test_ridge_of_a_constant_band_and_of_nothing():
    x, y = RNG.normal(size=(40, 2)), RNG.normal(size=(40, 1))
    x[:, 1] = 0.25
    found = ridge(products_of(x, y)[None], np.array([0, 1, 2]), np.array([3]), 1e-6)[0, 0]
    beta = np.linalg.lstsq(np.hstack([np.ones((40, 1)), x[:, :1]]), y[:, 0], rcond=None)[0]
    assert abs(found[2]) < 1e-3
    np.testing.assert_allclose(found[1], beta[1], rtol=1e-4)
    nothing = ridge(np.zeros((1, 4, 4)), np.array([0, 1, 2]), np.array([3]), 1e-3)
    np.testing.assert_array_equal(nothing, np.zeros((1, 1, 3)))
    left = squares_left(np.zeros((1, 4, 4)), nothing + 1, np.array([0, 1, 2]), np.array([3]))
    np.testing.assert_array_equal(left, [[0]])


def test_what_is_left_is_never_negative():
    y = np.full((50, 1), 0.1)
    products = products_of(np.zeros((50, 0)), y)[None]
    exact = np.array([[[0.1 * (1 + 1e-12)]]])
    assert squares_left(products, exact, np.array([0]), np.array([1])).min() >= 0


EXTENT = Window(20, 50, 130, 110)


def some_sample(n=500, dates=2, bands=2, channels=3):
    """Pixels of the extent in order, some dates missing."""
    flat = np.sort(RNG.choice(EXTENT.width * EXTENT.height, n, replace=False))
    usable = RNG.random((n, dates)) < 0.7
    references = RNG.random((n, dates, bands), np.float32)
    references[~usable] = 0
    return Sample(
        (flat // EXTENT.width + EXTENT.row_off).astype(np.int32),
        (flat % EXTENT.width + EXTENT.col_off).astype(np.int32),
        RNG.random((n, channels), np.float32),
        references,
        usable,
    )


def test_moments_are_sums_over_pixels_one_by_one():
    sample = some_sample()
    groups = group_sample(sample)
    np.testing.assert_array_equal(groups, sample.usable @ [1, 2])
    cells = CellGrid((2, 3), 45)
    moments = gather(sample, groups, cells, EXTENT)
    seen = np.repeat(sample.usable, 2, axis=1)
    flat = sample.references.reshape(-1, 4).astype(float)
    means = [flat[seen[:, b], b].mean() for b in range(4)]
    centre = np.array([0.0, *means, *sample.scene.mean(axis=0, dtype=float)])
    np.testing.assert_allclose(moments.centre, centre, rtol=1e-7)
    np.testing.assert_array_equal(moments.groups, [0, 1, 2, 3])
    want = np.zeros((4, 6, 8, 8))
    for i in range(len(sample)):
        row, col = sample.row[i] - EXTENT.row_off, sample.col[i] - EXTENT.col_off
        cell = min(row // 45, 1) * 3 + min(col // 45, 2)
        features = np.where(seen[i], flat[i] - centre[1:5], 0)
        one = np.array([1.0, *features, *(sample.scene[i] - centre[5:])])
        want[groups[i], cell] += np.outer(one, one)
    np.testing.assert_allclose(moments.products.sum(axis=2), want, atol=1e-6)
    for one in range(4):
        having = [group for group in range(4) if group & one == one]
        got = moments.of_dates(one).sum(axis=1)
        np.testing.assert_allclose(got, want[having].sum(axis=0), atol=1e-6)


def test_folds_are_made_of_blocks_that_differ_from_their_neighbours():
    fold = np.zeros((5, 5), int)
    for row, col in np.ndindex(5, 5):
        found = set()
        for inner in ((0, 0), (23, 23), (0, 23)):
            y, x = EXTENT.row_off + 24 * row + inner[0], EXTENT.col_off + 24 * col + inner[1]
            one = Sample(
                np.array([y], np.int32), np.array([x], np.int32), np.ones((1, 1), np.float32),
                np.zeros((1, 0, 1), np.float32), np.zeros((1, 0), bool),
            )  # fmt: skip
            moments = gather(one, group_sample(one), CellGrid((1, 1), 500), EXTENT)
            found.add(int(moments.products[0, 0, :, 0, 0].argmax()))
            assert moments.products[0, 0, :, 0, 0].sum() == 1
        assert len(found) == 1
        fold[row, col] = found.pop()
    assert (fold[1:] != fold[:-1]).all()
    assert (fold[:, 1:] != fold[:, :-1]).all()
    assert set(fold.ravel()) == {0, 1, 2, 3}
    assert all(
        set(fold[y : y + 2, x : x + 2].ravel()) == {0, 1, 2, 3} for y in (0, 1) for x in (0, 1)
    )


def test_the_last_cell_takes_what_is_over():
    cells = CellGrid((2, 3), 10)
    row, col = (a.ravel() for a in np.mgrid[:27, :38])
    want = [
        (1 if y >= 10 else 0) * 3 + (2 if x >= 20 else 1 if x >= 10 else 0)
        for y, x in zip(row, col, strict=True)
    ]
    np.testing.assert_array_equal(cells.index(row, col), want)


@pytest.mark.parametrize(
    ("shape_yx", "features", "groups", "shape"),
    [
        ((1000, 2600), 10, 1, (2, 5)),
        ((100, 100), 10, 1, (1, 1)),
        ((740, 760), 10, 1, (1, 2)),
        ((760, 100), 10, 1, (2, 1)),
        ((100, 100), 3000, 4, (1, 1)),  # one cell there is always
    ],
)
def test_cells_have_about_the_wished_side(shape_yx, features, groups, shape):
    assert plan_cells(shape_yx, features, groups, 500).shape_yx == shape


def test_cells_are_larger_where_their_moments_would_take_too_much_memory():
    """200 MB hold 24 cells of 4 folds of 5 groups of 228 x 228 products of 8 bytes."""
    cells = plan_cells((5000, 5000), 228, 5, 500)
    rows, cols = cells.shape_yx
    assert rows * cols * 8 * 4 * 5 * 228**2 <= 200e6
    assert cells.shape_yx == (4, 4)
    assert round(5000 / cells.side_px) == 4
    assert plan_cells((5000, 5000), 10, 5, 500).shape_yx == (10, 10)


def test_cells_are_smoothed_as_by_a_kernel():
    cells = CellGrid((3, 4), 10)
    products = RNG.random((12, 2, 2))
    kernel = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    want = correlate(products.reshape(3, 4, 2, 2), kernel[..., None, None], mode="constant")
    found = smooth_cells(products, cells)
    np.testing.assert_allclose(found, want.reshape(12, 2, 2))


def test_a_field_is_the_carried_mean_of_its_blocks():
    sample = some_sample(900)
    residual = RNG.normal(size=(900, 3)).astype(np.float32)
    field = gather_field(sample, residual, EXTENT)
    shape = (4, 5)  # blocks of 32 px in 110 x 130
    count, sums = np.zeros(shape), np.zeros((3, *shape))
    for row, col, left in zip(sample.row, sample.col, residual, strict=True):
        block = (row - EXTENT.row_off) // 32, (col - EXTENT.col_off) // 32
        count[block] += 1
        sums[:, *block] += left
    full = count.max()
    shares = np.tile(OPEN_SHARES[-1], (4, 1))  # blocks of 1, 2, 4, 8: the last holds them all
    value, share = carried_by_scipy(sums / full, count / full, shares)
    np.testing.assert_allclose(field.carried.values, value, atol=1e-4)
    np.testing.assert_allclose(field.carried.open_share, share, atol=1e-4)
    assert field.origin == (20, 50)


def test_a_field_over_a_window_goes_on_at_its_edge():
    field = CoarseField.zeros(2, EXTENT)
    assert field.carried.values.shape == (2, 4, 5)
    assert (field.carried.values == 0).all()
    np.testing.assert_array_equal(field.carried.open_share[:, 0, 0], OPEN_SHARES[-1])
    number = np.arange(20, dtype=np.float32).reshape(1, 4, 5)
    field = CoarseField(Carried(number, number + 100), (20, 50))
    around = field.over(Window(20 - 32, 50 + 64, 32 * 3, 32 * 4))
    np.testing.assert_array_equal(
        around.values[0], [[10, 10, 11], [15, 15, 16], [15, 15, 16], [15, 15, 16]]
    )
    np.testing.assert_array_equal(around.open_share, around.values + 100)


def coefficients_of(cells, extent, rng=RNG):
    """Two dates of two bands, one channel; unevenness and the heaviest date of each cell drawn."""
    count = cells.shape_yx[0] * cells.shape_yx[1]
    return Coefficients(
        beta=rng.normal(size=(4, count, 1, 5)).astype(np.float32),
        error=np.array([[0.4], [0.3], [0.2], [0.1]], np.float32),
        unevenness=rng.uniform(0.5, 2, count).astype(np.float32),
        heaviest=rng.integers(0, 2, (4, count)).astype(np.int8),
        dates=(0, 1, 2, 3),
        subset=np.arange(4, dtype=np.int16),
        shape=(2, 2),
        cells=cells,
        extent=extent,
        field=CoarseField.zeros(1, extent),
    )


@pytest.mark.parametrize("grid", [(3, 4), (1, 4), (3, 1), (1, 1)])
def test_a_prediction_pixel_by_pixel(grid):
    side = 30
    extent = Window(7, 11, grid[1] * side + 9, grid[0] * side + 13)
    coefficients = coefficients_of(CellGrid(grid, side), extent)
    window = Window(extent.col_off + 3, extent.row_off + 5, extent.width - 9, extent.height - 5)
    references = RNG.random((2, 2, *window.shape_yx), np.float32)
    usable = RNG.random((2, *window.shape_yx)) < 0.6
    references[:, :, 3, 4] = np.nan
    found = coefficients.predict(references, usable, window)
    y, x = np.mgrid[: window.height, : window.width]
    y, x = y + 5, x + 3  # from the scene's corner
    at = np.stack([(y - side // 2) / side, (x - side // 2) / side])
    number = usable[0] * 1 + usable[1] * 2
    number[3, 4] = 0
    flat = np.nan_to_num(references.reshape(4, *window.shape_yx))
    cell = np.minimum(y // side, grid[0] - 1) * grid[1] + np.minimum(x // side, grid[1] - 1)
    for one in range(4):
        planes = coefficients.beta[one, :, 0].reshape(*grid, 5).astype(float)
        here = [map_coordinates(planes[..., k], at, order=1, mode="nearest") for k in range(5)]
        used = [k for k in range(4) if one >> k // 2 & 1]
        made = here[0] + sum(here[1 + k] * flat[k] for k in used)
        some = number == one
        np.testing.assert_allclose(found.ground[0][some], made[some], atol=1e-5)
        hard = coefficients.unevenness.reshape(grid).astype(float)
        factor = map_coordinates(hard, at, order=1, mode="nearest") if cell.max() else 1.0
        want = (coefficients.error[one, 0] * factor * np.ones(some.shape))[some]
        np.testing.assert_allclose(found.error[0][some], want, rtol=1e-5)
        np.testing.assert_array_equal(found.date[some], coefficients.heaviest[one, cell][some])
    # single pixels are made alike
    row, col = (a.ravel().astype(np.int32) for a in (y + 11, x + 7))
    values = np.moveaxis(np.nan_to_num(references), (0, 1), (2, 3)).reshape(-1, 2, 2)
    ground = coefficients.at(row, col, values, number.ravel().astype(np.int32))
    np.testing.assert_array_equal(ground[:, 0], found.ground[0].ravel())


def test_nothing_seen_is_zero_with_an_infinite_error():
    empty = Coefficients.empty(3, 2, 2, EXTENT)
    assert empty.is_empty
    window = Window(30, 60, 20, 10)
    references = RNG.random((2, 2, 10, 20), np.float32)
    found = empty.predict(references, np.ones((2, 10, 20), bool), window)
    assert found.ground.shape == found.error.shape == (3, 10, 20)
    assert (found.ground == 0).all()
    assert np.isinf(found.error).all()
    assert (found.date == -1).all()
    assert empty.shape == (2, 2)
    assert empty.field.carried.values.shape == (3, 4, 5)
    assert not coefficients_of(CellGrid((1, 1), 30), EXTENT).is_empty


def left_out_by_lstsq(x, y, block, penalty):
    """Squares on blocks left out in turn, by numpy."""
    total = np.zeros(y.shape[1])
    for one in range(4):
        out = block == one
        middle, spread = x[~out].mean(axis=0), x[~out].std(axis=0)
        rows = np.vstack(
            [(x[~out] - middle) / spread, math.sqrt((~out).sum() * penalty) * np.eye(x.shape[1])]
        )
        goal = np.vstack([y[~out] - y[~out].mean(axis=0), np.zeros((x.shape[1], y.shape[1]))])
        slopes = np.linalg.lstsq(rows, goal, rcond=None)[0] / spread[:, None]
        made = y[~out].mean(axis=0) + (x[out] - middle) @ slopes
        total += ((y[out] - made) ** 2).sum(axis=0)
    return total


@pytest.mark.parametrize("noise", [0.01, 0.3, 2.0])
def test_error_and_penalty_are_those_of_left_out_blocks(noise):
    """Few pixels and many bands: the penalty matters."""
    rng = np.random.default_rng(3)
    n, extent = 240, Window(0, 0, 120, 120)
    flat = np.sort(rng.choice(120 * 120, n, replace=False))
    row, col = (flat // 120).astype(np.int32), (flat % 120).astype(np.int32)
    references = rng.normal(0.3, 0.1, (n, 2, 4)).astype(np.float32)
    x = references.reshape(n, 8).astype(float)
    mixed = x @ rng.normal(size=(8, 2)) + noise * 0.1 * rng.normal(size=(n, 2))
    y = mixed.astype(np.float32)
    sample = Sample(row, col, y, references, np.ones((n, 2), bool))
    found = solve(sample, extent, robust=False)
    block = (row // 24 + 2 * (col // 24)) % 4
    penalties = [1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1]
    for dates, bands in ((1, slice(0, 4)), (2, slice(4, 8)), (3, slice(0, 8))):
        losses = [left_out_by_lstsq(x[:, bands], y.astype(float), block, p) for p in penalties]
        best = int(np.argmin([loss.sum() for loss in losses]))
        number = found.dates.index(dates)
        np.testing.assert_allclose(found.error[number], np.sqrt(losses[best] / n), rtol=1e-4)
        # the coefficients are those of all blocks with that penalty
        here = x[:, bands]
        middle, spread = here.mean(axis=0), here.std(axis=0)
        rows = np.vstack(
            [(here - middle) / spread, math.sqrt(n * penalties[best]) * np.eye(here.shape[1])]
        )
        goal = np.vstack([y - y.mean(axis=0), np.zeros((here.shape[1], 2))])
        slopes = np.linalg.lstsq(rows, goal, rcond=None)[0] / spread[:, None]
        beta = np.zeros((2, 8))
        beta[:, bands] = slopes.T
        np.testing.assert_allclose(found.beta[number, 0, :, 1:], beta, atol=2e-4)
        offset = y.mean(axis=0) - middle @ slopes
        np.testing.assert_allclose(found.beta[number, 0, :, 0], offset, atol=2e-4)
        weight = (np.abs(beta) * x.std(axis=0)).sum(axis=0).reshape(2, 4).sum(axis=1)
        assert found.heaviest[number, 0] == weight.argmax()
    mean = np.sqrt(left_out_means(y.astype(float), block) / n)
    np.testing.assert_allclose(found.error[found.dates.index(0)], mean, rtol=1e-4)
    overall = (found.error.astype(float) ** 2).mean(axis=1)
    for dates in range(4):
        within = [i for i, used in enumerate(found.dates) if used & dates == used]
        assert found.subset[dates] == within[int(np.argmin(overall[within]))]
    np.testing.assert_allclose(found.unevenness, [1], rtol=1e-5)
    assert found.heaviest[found.dates.index(0), 0] == -1


def left_out_means(y, block):
    """Squares left by the mean of the other blocks."""
    return sum(
        ((y[block == one] - y[block != one].mean(axis=0)) ** 2).sum(axis=0) for one in range(4)
    )


def test_a_date_with_too_few_pixels_is_not_solved():
    rng = np.random.default_rng(5)
    n = 300
    usable = np.ones((n, 2), bool)
    usable[11:, 1] = False  # 3 coefficients ask for 12 pixels
    row = np.arange(n, dtype=np.int32)
    references = rng.random((n, 2, 2), np.float32) * usable[..., None]
    scene = rng.random((n, 2), np.float32)
    for enough in (False, True):
        usable[11, 1] = enough
        sample = Sample(row, row % 7, scene, references, usable.copy())
        dates = solve(sample, Window(0, 0, 7, n), robust=False).dates
        assert dates == ((0, 1, 2) if enough else (0, 1))


def test_of_many_dates_those_that_occur_are_solved():
    rng = np.random.default_rng(6)
    n, count = 4000, 6
    usable = np.zeros((n, count), bool)
    usable[:2000, [0, 2]] = True
    usable[2000:, 4] = True
    usable[3000:, 5] = True
    references = rng.random((n, count, 1), np.float32) * usable[..., None]
    row = np.arange(n, dtype=np.int32)
    sample = Sample(row, row * 0, rng.random((n, 1), np.float32), references, usable)
    found = solve(sample, Window(0, 0, 1, n), robust=False)
    assert found.dates == (0, 1, 4, 5, 16, 32, 48)
    assert found.subset.shape == (64,)


def test_harder_ground_has_a_larger_error():
    """Noise of 0.01 on the left, of 0.04 on the right, in cells of their own."""
    rng = np.random.default_rng(8)
    side, extent = 60, Window(0, 0, 600, 300)
    row, col = (a[::2, ::2].ravel().astype(np.int32) for a in np.mgrid[:300, :600])
    references = rng.random((len(row), 1, 2), np.float32)
    noise = np.where(col < 300, 0.01, 0.04)[:, None]
    scene = references[:, 0] + noise * rng.normal(size=(len(row), 2))
    sample = Sample(row, col, scene.astype(np.float32), references, np.ones((len(row), 1), bool))
    found = solve(sample, extent, cell_px=side, robust=False)
    assert found.cells.shape_yx == (5, 10)
    usable = np.ones((1, 300, 600), bool)
    dates = rng.random((1, 2, 300, 600), np.float32)
    error = found.predict(dates, usable, extent).error
    # the whole scene has a say in each cell of 900 pixels: 20 for each of three coefficients
    whole = (0.01**2 + 0.04**2) / 2
    for part, own in ((error[:, :, :200], 0.01), (error[:, :, 400:], 0.04)):
        want = math.sqrt((900 * own**2 + 60 * whole) / 960)
        assert part.mean() == pytest.approx(want, rel=0.05)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_planted_outliers_go_and_the_rest_stays(channel):
    rng = np.random.default_rng(channel)
    n = 3000
    usable = np.ones((n, 2), bool)
    usable[2000:, 1] = False
    usable[2900:] = False  # nothing says what these should look like
    references = rng.random((n, 2, 3), np.float32) * usable[..., None]
    mixed = (
        references[:, 0] @ rng.normal(size=(3, 3))
        + references[:, 1] @ rng.normal(size=(3, 3)) * 0.02
    )
    scene = (mixed + 0.004 * rng.normal(size=(n, 3))).astype(np.float32)
    planted = np.zeros(n, bool)
    planted[::50] = True
    scene[planted, channel] += np.where(np.arange(planted.sum()) % 2, 0.3, -0.3)
    scene[2950:] += 5
    row = np.arange(n, dtype=np.int32)
    keep = find_ground(Sample(row, row % 5, scene, references, usable))
    assert keep[2900:].all()
    assert not keep[:2900][planted[:2900]].any()
    # a share of 6e-7 of normal noise lies beyond five deviations
    assert keep[:2900][~planted[:2900]].mean() > 0.998


@pytest.mark.parametrize("share", [0.05, 0.3, 0.48])
def test_clouds_over_nearly_a_half_go_first(share):
    rng = np.random.default_rng(1)
    n = 4000
    references = rng.random((n, 1, 3), np.float32) * np.float32(0.3)
    scene = references[:, 0] * np.float32(0.8) + np.float32(0.02)
    cloudy = rng.random(n) < share
    scene[cloudy] = 0.8 + 0.1 * rng.random((cloudy.sum(), 3), np.float32)
    row = np.arange(n, dtype=np.int32)
    keep = find_ground(Sample(row, row % 5, scene, references, np.ones((n, 1), bool)))
    assert not keep[cloudy].any()
    assert keep[~cloudy].mean() > 0.99


def test_all_alike_is_ground():
    n = 50
    row = np.arange(n, dtype=np.int32)
    flat = np.full((n, 1, 2), 0.25, np.float32)
    keep = find_ground(Sample(row, row, flat[:, 0] + np.float32(0.1), flat, np.ones((n, 1), bool)))
    assert keep.all()
    nothing = Sample(row, row, flat[:, 0], flat * 0, np.zeros((n, 1), bool))
    assert find_ground(nothing).all()


def shadow_pixels(cloud, down, right):
    """All pixels that lie within 3 px, along rows and columns, of a line from the cloud, one by one."""
    out = np.zeros_like(cloud)
    for row, col in np.argwhere(cloud):
        for step in range(97):
            y, x = row + step * down, col + step * right
            out[max(0, y - 3) : max(0, y + 4), max(0, x - 3) : max(0, x + 4)] = True
    return out


@pytest.mark.parametrize(
    ("azimuth", "down", "right"), [(0, 1, 0), (180, -1, 0), (90, 0, -1), (270, 0, 1)]
)
def test_shadows_fall_away_from_the_sun(azimuth, down, right):
    cloud = np.zeros((150, 160), bool)
    cloud[70, 80] = cloud[74, 90] = True
    found = shaded(cloud, Sun(azimuth))
    np.testing.assert_array_equal(found, shadow_pixels(cloud, down, right))


def test_shadows_fall_along_a_slope_and_anywhere_without_a_sun():
    cloud = np.zeros((260, 250), bool)
    cloud[120, 130] = True
    found = shaded(cloud, Sun(30))  # in the north-north-east, so the shadow in the south-south-west
    y, x = np.mgrid[:260, :250]
    down, right = math.cos(math.radians(30)), -math.sin(math.radians(30))
    along = np.clip((y - 120) * down + (x - 130) * right, 0, 96)
    distance = np.hypot(y - 120 - along * down, x - 130 - along * right)
    assert found[distance <= 2].all()
    assert not found[distance > 5.8].any()
    anywhere = shaded(cloud, None)
    np.testing.assert_array_equal(anywhere, np.maximum(abs(y - 120), abs(x - 130)) <= 96)


def flat_prediction(ground, error, shape=(40, 44)):
    made = np.ones((3, *shape), np.float32)
    return Prediction(
        made * np.array(ground, np.float32)[:, None, None],
        made * np.array(error, np.float32)[:, None, None],
        np.zeros(shape, np.int8),
    )


BANDS = BandIndex(blue=0, red=1, nir=2)
#: change of blue and red, error of blue, whether that is cloud
CLOUDS = {
    "bright": (0.03, 0.03, 0.002, True),
    "hardly": (0.019, 0.019, 0.002, False),
    "five errors": (0.052, 0.03, 0.01, True),
    "four errors": (0.045, 0.03, 0.01, False),
    "redder by less than half": (0.03, 0.055, 0.002, True),
    "bright soil": (0.03, 0.065, 0.002, False),
    "darker": (-0.1, -0.3, 0.002, False),
    "no data": (np.nan, 0.0, 0.002, False),
}


@pytest.mark.parametrize("kind", CLOUDS)
def test_what_is_a_missed_cloud(kind):
    blue, red, error, expected = CLOUDS[kind]
    prediction = flat_prediction([0.1, 0.2, 0.3], [error, 0.05, 0.05])
    scene = prediction.ground.copy()
    scene[0, 10:22, 12:24] += np.float32(blue)
    scene[1, 10:22, 12:24] += np.float32(red)
    found = find_missed_clouds(scene, prediction, BANDS)
    assert found[10:22, 12:24].all() == expected
    assert found.any() == expected
    found[8:24, 10:26] = False  # the rim that goes with it
    assert not found.any()
    blind = find_missed_clouds(scene, prediction, BandIndex(blue=0))
    assert blind.any() == (expected or kind == "bright soil")
    prediction.date[:] = -1
    assert not find_missed_clouds(scene, prediction, BANDS).any()


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(30, 2, False), (7, 7, True), (3, 3, False)]
)
def test_narrow_finds_are_no_clouds(height, width, expected):
    prediction = flat_prediction([0.1, 0.2, 0.3], [0.002] * 3)
    scene = prediction.ground.copy()
    scene[:, 5 : 5 + height, 9 : 9 + width] += np.float32(0.2)
    assert find_missed_clouds(scene, prediction, BANDS).any() == expected


#: share of the blue, red and near infrared that is left, error of the near infrared, whether that is shadow
SHADES = {
    "dark": ((0.5, 0.5, 0.5), 0.02, True),
    "hardly": ((0.85, 0.85, 0.85), 0.002, False),
    "within two errors": ((0.7, 0.7, 0.7), 0.05, False),
    "beyond two errors": ((0.7, 0.7, 0.7), 0.042, True),
    "ploughed": ((1.5, 1.0, 0.5), 0.02, False),
    "ploughed red": ((1.0, 1.5, 0.5), 0.02, False),
    "no data": ((0.5, 0.5, np.nan), 0.02, False),
}


@pytest.mark.parametrize("kind", SHADES)
def test_what_is_a_shadow(kind):
    left, error, expected = SHADES[kind]
    prediction = flat_prediction([0.1, 0.2, 0.3], [0.01, 0.01, error])
    scene = prediction.ground.copy()
    cloud = np.zeros(scene.shape[1:], bool)
    cloud[25:30, 10:20] = True
    scene[:, 10:20, 10:20] *= np.array(left, np.float32)[:, None, None]
    for sun in (Sun(180), None):
        found = find_shadows(scene, prediction, cloud, BANDS, sun)
        assert found[10:20, 10:20].all() == expected
        assert found.any() == expected
        assert not (found & cloud).any()
        found[8:22, 8:22] = False
        assert not found.any()
    assert not find_shadows(scene, prediction, cloud, BANDS, Sun(0)).any()
    blind = find_shadows(scene, prediction, cloud, BandIndex(0, 1), None)
    assert blind.dtype == bool
    assert not blind.any()
    only = find_shadows(scene, prediction, cloud, BandIndex(0, None, 2), None)
    assert only.any() == (expected or kind == "ploughed red")
    scene[:, cloud] = 0
    assert not (find_shadows(scene, prediction, cloud, BANDS, Sun(180)) & cloud).any()
    prediction.date[:] = -1
    assert not find_shadows(scene, prediction, cloud, BANDS, Sun(180)).any()


def test_what_waits_is_packed_to_the_next_step():
    values = RNG.uniform(-0.2, 1.6, (3, 200, 301)).astype(np.float32)
    values[1, 5, 7:9] = np.nan, np.inf
    values[2, 0, :2] = 4, -4  # more than fits
    packed = pack(values)
    assert packed.dtype == np.int16
    np.testing.assert_array_equal(packed == GAP, ~np.isfinite(values))
    there = np.isfinite(values) & (abs(values) < 3)
    np.testing.assert_allclose(unpack(packed)[there], values[there], atol=5.1e-5)
    np.testing.assert_allclose(unpack(packed)[2, 0, :2], [3.2767, -3.2767], rtol=1e-6)
    np.testing.assert_array_equal(pack(values[:, ::2, ::3]), packed[:, ::2, ::3])

    opacity = RNG.random((40, 50), np.float32)
    opacity[0, :3] = 0, 1, np.nan
    steps = pack_opacity(opacity)
    assert steps.dtype == np.uint16
    found = unpack_opacity(steps)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(opacity))
    np.testing.assert_allclose(found, opacity, atol=0.51 / 65534)
    assert found[0, 0] == 0
    assert found[0, 1] == pytest.approx(1, abs=1e-7)


def test_trust_is_a_quarter_at_four_errors():
    error = np.full((2, 1, 5), 0.019, np.float32)
    step = 0.019 + NOISE
    residual = np.array([0, -1, 4 * step, 8 * step, 2 * step], np.float32) * np.ones(
        (2, 1, 1), np.float32
    )
    found = trust(residual, error)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], [1, 1, 1 / 4, 1 / 25, 1 / 1.25**2], rtol=1e-5)
    # the mean over the bands: one brighter, one darker
    one = np.array([[[8 * step]], [[0]]], np.float32)
    np.testing.assert_allclose(trust(one, error[..., :1]), [[1 / 4]], rtol=1e-5)


def test_a_window_is_filled_as_by_scipy():
    """A window that begins and ends on no block, of a scene that does not begin at 0."""
    window, shape = Window(30, 95, 75, 41), (41, 75)
    scene = RNG.random((2, *shape), np.float32)
    clear = RNG.random(shape) < 0.5
    scene[0, 3, 5], clear[3, 5] = np.nan, True
    date = RNG.integers(-1, 2, shape).astype(np.int8)
    prediction = Prediction(
        RNG.random((2, *shape), np.float32),
        RNG.uniform(0.1, 0.3, (2, *shape)).astype(np.float32),
        date,
    )
    blocks = RNG.random((4, 4, 5), np.float32)
    field = CoarseField(Carried(blocks[:2], blocks[2:] + np.float32(1)), (20, 50))
    found = fill(scene, clear, prediction, field, window)
    # whole blocks of 32 px from the scene's corner: 10 px further left, 13 further up
    top, left = (95 - 50) % BLOCK_PX, (30 - 20) % BLOCK_PX
    inner = np.s_[top : top + 41, left : left + 75]
    values, weight = np.zeros((2, 64, 96)), np.zeros((64, 96))
    residual = scene - prediction.ground
    brighter = np.clip((residual / (prediction.error + 1e-3)).mean(axis=0), 0, None)
    known = clear & np.isfinite(scene).all(axis=0)
    weight[inner] = np.where(known, (1 + (brighter / 4) ** 2) ** -2, 0)
    values[:, *inner] = np.where(known, residual, 0) * weight[inner]
    rows, cols = [1, 2], [0, 1, 2]
    above = Carried(
        field.carried.values[:, rows][:, :, cols], field.carried.open_share[:, rows][:, :, cols]
    )
    value, share = carried_by_scipy(values, weight, OPEN_SHARES[:5], above)
    np.testing.assert_allclose(found.ground, prediction.ground + value[:, *inner], atol=1e-4)
    share = np.where(date >= 0, share[0][inner], share[1][inner])
    error = np.sqrt((prediction.error.astype(float) ** 2).mean(axis=0) * share)
    np.testing.assert_allclose(found.error, error, rtol=1e-4)
    np.testing.assert_array_equal(found.date, date)


DAY = date(2021, 3, 1)


@pytest.mark.parametrize(
    ("days", "count", "picked"),
    [
        ([-10, -20, 10, 20], 2, [-10, 10]),
        (
            [-10, -20, 10, 20],
            3,
            [-20, -10, 10],
        ),  # the odd one is the nearest side's, before on a tie
        ([-10, -20, 9, 20], 3, [-10, 9, 20]),
        ([-10, -20, -30, 40], 4, [-30, -20, -10, 40]),
        ([-10, 20, 30, 40], 4, [-10, 20, 30, 40]),
        ([-10, 20, 30, 40], 3, [-10, 20, 30]),
        ([10, 20, 30], 2, [10, 20]),
        ([-30, -10, -20], 2, [-20, -10]),
        ([0, 5], 1, [0]),
        ([-9, 5], 1, [5]),
        ([-5, -10, -15, -20, 5, 10, 15, 20], None, [-10, -5, 5, 10]),
    ],
)
def test_days_that_are_picked(days, count, picked):
    candidates = [Candidate(DAY + timedelta(day)) for day in days]
    how = {} if count is None else {"count": count}
    found = pick_references(DAY, candidates, **how)
    assert [(candidates[i].date - DAY).days for i in found] == picked


@pytest.mark.parametrize(
    ("shares", "picked"),
    [
        ([(-10, 1.0, 1.0), (-30, 1.0, 1.0)], -10),
        ([(-10, 0.6, 1.0), (-30, 1.0, 1.0)], -30),  # 15 / 0.36 against 35
        ([(-10, 0.7, 1.0), (-30, 1.0, 1.0)], -10),
        ([(-10, 1.0, 0.6), (-30, 1.0, 1.0)], -30),
        ([(-1, 0.8, 1.0), (-4, 1.0, 1.0)], -4),  # some days more or less are one to the ground
        ([(-1, 0.09, 1.0), (-300, 1.0, 1.0)], -300),
        ([(-1, 0.1, 1.0)], -1),
        ([(-1, 0.3, 0.3)], None),
    ],
)
def test_a_clear_day_wins_over_a_near_one(shares, picked):
    candidates = [Candidate(DAY + timedelta(day), *more) for day, *more in shares]
    found = pick_references(DAY, candidates, 1)
    assert [(candidates[i].date - DAY).days for i in found] == ([] if picked is None else [picked])


def test_of_days_alike_the_first_is_picked_and_they_are_given_by_date():
    days = [5, -5, -5, 5]
    candidates = [Candidate(DAY + timedelta(day)) for day in days]
    assert pick_references(DAY, candidates, 2) == [1, 0]
    assert pick_references(DAY, candidates, 4) == [1, 2, 0, 3]


def test_a_sample_is_taken_pixel_by_pixel():
    window, stride = Window(14, 9, 33, 28), 5
    scene = RNG.random((2, 28, 33), np.float32)
    references = RNG.random((2, 3, 28, 33), np.float32)
    clear, usable = RNG.random((28, 33)) < 0.8, RNG.random((2, 28, 33)) < 0.8
    scene[1, 6, 1] = np.nan
    clear[6, 1] = True  # row 15, column 15: on the lattice
    references[1, 2, 11, 6], usable[1, 11, 6], clear[11, 6] = np.inf, True, True
    found = take_sample(scene, clear, references, usable, window, stride)
    places = [
        (y, x)
        for y in range(28)
        for x in range(33)
        if (y + 9) % 5 == 0 and (x + 14) % 5 == 0 and clear[y, x] and (y, x) != (6, 1)
    ]
    assert (11, 6) in places
    y, x = np.array(places).T
    np.testing.assert_array_equal(found.row, y + 9)
    np.testing.assert_array_equal(found.col, x + 14)
    assert (found.row.dtype, found.col.dtype) == (np.int32, np.int32)
    np.testing.assert_array_equal(found.scene, scene[:, y, x].T)
    seen = usable[:, y, x].T.copy()
    seen[places.index((11, 6)), 1] = False
    np.testing.assert_array_equal(found.usable, seen)
    want = np.moveaxis(references[:, :, y, x], -1, 0) * 1.0
    want[~seen] = 0
    np.testing.assert_array_equal(found.references, want)
    assert found.references.dtype == np.float32
    mixed = found.take(RNG.permutation(len(found))).in_order()
    for name in ("row", "col", "scene", "references", "usable"):
        np.testing.assert_array_equal(getattr(mixed, name), getattr(found, name))
    both = found.take(np.arange(3)) + found.take(np.arange(3, len(found)))
    np.testing.assert_array_equal(both.scene, found.scene)


@pytest.mark.parametrize(
    ("shape_yx", "stride"),
    [((1, 1), 1), ((1000, 1000), 1), ((1000, 1001), 2), ((2000, 2000), 2), ((3000, 1000), 2)],
)
def test_a_million_pixels_are_looked_at_at_most(shape_yx, stride):
    assert plan_stride(shape_yx) == stride


def test_dates_of_a_pixel_as_bits():
    usable = RNG.random((4, 6, 5)) < 0.5
    found = dates_of(usable)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, np.tensordot([1, 2, 4, 8], usable, axes=1))
    np.testing.assert_array_equal(dates_of(usable[:0]), np.zeros((6, 5)))
