"""Other dates: the fit against numpy's own least squares, windows against the whole."""

import pickle
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from geodecloud.restore.references import (
    DETECT_REACH_PX,
    REACH_PX,
    BandIndex,
    Candidate,
    Sun,
    fill,
    find_missed_clouds,
    find_shadows,
    merge,
    pick_references,
    plan_stride,
    solve,
    take_sample,
)
from geodecloud.windows.tiler import Window

SHAPE, LARGE = (101, 143), (260, 303)
EXTENT = Window(0, 0, SHAPE[1], SHAPE[0])
#: An example fits a whole scene: one for eight of other tests, so fewer with the profile for mutants.
FEW = max(1, settings.default.max_examples // 8)


def make_series(seed=0, count=3, bands=3, shape=SHAPE, noise=0.0):
    """Dates of random ground, and a scene that is a linear mixture of all their bands."""
    rng = np.random.default_rng(seed)
    references = rng.random((count, bands, *shape), np.float32) * np.float32(0.4)
    mix = rng.normal(size=(bands, count * bands)) / (count * bands)
    offset = rng.uniform(0.05, 0.2, bands)
    scene = np.einsum("ck,kyx->cyx", mix, references.reshape(-1, *shape)) + offset[:, None, None]
    scene += noise * rng.normal(size=scene.shape)
    usable = np.stack([patchy(rng, shape, 0.3) for _ in range(count)])
    return scene.astype(np.float32), references, usable


def patchy(rng, shape, hidden, side=19):
    """True in patches, about `hidden` of the area False."""
    small = rng.random([length // side + 1 for length in shape]) > hidden
    return np.kron(small, np.ones((side, side), bool))[: shape[0], : shape[1]]


def fit(scene, clear, references, usable, extent=EXTENT, **how):
    return solve(take_sample(scene, clear, references, usable, extent, 1), extent, **how)


def fill_whole(scene, clear, references, usable, coefficients, extent=EXTENT):
    prediction = coefficients.predict(references, usable, extent)
    return fill(scene, clear, prediction, coefficients.field, extent)


def test_planted_relation_is_found_where_all_dates_are_seen():
    scene, references, usable = make_series()
    clear = patchy(np.random.default_rng(9), SHAPE, 0.5)
    prediction = fit(scene, clear, references, usable).predict(references, usable, EXTENT)
    whole = usable.all(axis=0)
    assert np.abs(prediction.ground - scene)[:, whole].max() < 1e-4
    assert (prediction.date >= 0)[usable.any(axis=0)].all()
    assert (prediction.date == -1)[~usable.any(axis=0)].all()


def test_a_pixel_that_lacks_a_date_gets_least_squares_on_the_others():
    scene, references, usable = make_series(noise=0.01)
    usable[:] = True
    usable[1, :, 70:] = False
    clear = np.ones(SHAPE, bool)
    clear[:, 100:] = False
    prediction = fit(scene, clear, references, usable, robust=False).predict(
        references, usable, EXTENT
    )
    known = references[[0, 2]][:, :, clear].reshape(6, -1).T.astype(float)
    ones = np.ones((len(known), 1))
    beta = np.linalg.lstsq(np.hstack([ones, known]), scene[:, clear].T, rcond=None)[0]
    hole = references[[0, 2]][:, :, :, 100:].reshape(6, -1).T
    want = np.hstack([np.ones((len(hole), 1)), hole]) @ beta
    got = prediction.ground[:, :, 100:].reshape(3, -1).T
    # a penalty of at most a tenth of a band's variance is the only difference
    assert np.abs(got - want).max() < 0.02
    assert np.abs(got - want).mean() < 0.002


def test_without_references_the_ground_is_the_mean_and_what_is_around():
    rng = np.random.default_rng(2)
    scene = np.full((2, *SHAPE), 0.2, np.float32)
    scene[:, :, :70] = 0.4
    clear = np.ones(SHAPE, bool)
    clear[40:60, 20:40] = clear[40:60, 100:120] = False
    scene[:, ~clear] = rng.random(scene[:, ~clear].shape)
    references, usable = np.zeros((0, 2, *SHAPE), np.float32), np.zeros((0, *SHAPE), bool)
    coefficients = fit(scene, clear, references, usable)
    prediction = coefficients.predict(references, usable, EXTENT)
    assert np.allclose(
        prediction.ground, scene[:, clear].mean(axis=1, dtype=float)[:, None, None], atol=1e-5
    )
    filled = fill(scene, clear, prediction, coefficients.field, EXTENT)
    assert np.abs(filled.ground[:, 40:60, 20:40] - 0.4).max() < 0.02
    assert np.abs(filled.ground[:, 40:60, 100:120] - 0.2).max() < 0.02
    assert (filled.date == -1).all()


def test_without_references_there_may_be_many_cells():
    scene = make_series(shape=LARGE)[0]
    references, usable = np.zeros((0, 3, *LARGE), np.float32), np.zeros((0, *LARGE), bool)
    extent = Window(0, 0, LARGE[1], LARGE[0])
    clear = patchy(np.random.default_rng(1), LARGE, 0.5)
    coefficients = fit(scene, clear, references, usable, extent, cell_px=90)
    assert coefficients.cells.shape_yx == (3, 3)
    assert (coefficients.predict(references, usable, extent).date == -1).all()


def test_between_cells_coefficients_are_interpolated_along_both_axes(large):
    """The planes of `Coefficients.beta` at the middles of cells, by scipy."""
    references, usable, extent, coefficients = large[2:6]
    side, numbers = coefficients.cells.side_px, coefficients.subset
    beta = coefficients.beta[numbers[-1]].reshape(3, 3, *coefficients.beta.shape[2:])
    middles = side // 2 + side * np.arange(3)
    y, x = (np.arange(length).clip(middles[0], middles[-1]) for length in LARGE)
    here = RegularGridInterpolator((middles, middles), beta)(
        np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)
    )
    flat = references.reshape(-1, *LARGE)
    want = here[..., 0] + np.einsum("yxck,kyx->yxc", here[..., 1:], flat)
    got = np.moveaxis(coefficients.predict(references, usable, extent).ground, 0, -1)
    whole = usable.all(axis=0)
    assert np.abs(got - want)[whole].max() < 1e-5


def test_useless_references_are_not_used():
    rng = np.random.default_rng(3)
    scene = (0.2 + 0.05 * rng.normal(size=(3, *SHAPE))).astype(np.float32)
    references = rng.random((2, 3, *SHAPE), np.float32)
    seen = np.ones((2, *SHAPE), bool)
    clear = patchy(rng, SHAPE, 0.5)
    ground = fit(scene, clear, references, seen).predict(references, seen, EXTENT).ground
    mean = scene[:, clear].mean(axis=1, dtype=float)[:, None, None]
    assert np.abs(ground - mean).max() < 0.02


@settings(max_examples=2 * FEW)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 100), cols=st.integers(1, 142))
def test_a_sample_in_parts_gives_the_same_fit(seed, rows, cols):
    scene, references, usable = make_series(seed % 7, noise=0.01)
    clear = patchy(np.random.default_rng(seed), SHAPE, 0.5)
    parts = [
        take_sample(
            scene[:, *w.slices_yx],
            clear[w.slices_yx],
            references[:, :, *w.slices_yx],
            usable[:, *w.slices_yx],
            w,
            3,
        )
        for y, h in ((0, rows), (rows, SHAPE[0] - rows))
        for x, wd in ((0, cols), (cols, SHAPE[1] - cols))
        for w in [Window(x, y, wd, h)]
    ]
    whole = take_sample(scene, clear, references, usable, EXTENT, 3)
    order = np.random.default_rng(seed).permutation(4)
    together = merge(parts[i] for i in order)
    assert len(together) == len(whole)
    a, b = solve(whole, EXTENT, cell_px=60), solve(together, EXTENT, cell_px=60)
    assert np.array_equal(a.beta, b.beta)
    assert np.array_equal(a.field.carried.values, b.field.carried.values)


@pytest.fixture(scope="module")
def large():
    scene, references, usable = make_series(5, shape=LARGE, noise=0.02)
    scene += np.linspace(0, 0.2, LARGE[1], dtype=np.float32)
    clear = patchy(np.random.default_rng(1), LARGE, 0.5, side=37)
    extent = Window(0, 0, LARGE[1], LARGE[0])
    coefficients = fit(scene, clear, references, usable, extent, cell_px=90)
    assert coefficients.cells.shape_yx == (3, 3)
    whole = fill_whole(scene, clear, references, usable, coefficients, extent)
    return scene, clear, references, usable, extent, coefficients, whole


@settings(max_examples=4 * FEW)
@given(
    x=st.integers(0, LARGE[1] - 1),
    y=st.integers(0, LARGE[0] - 1),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
)
def test_a_window_with_its_halo_gives_the_bits_of_the_whole(large, x, y, width, height):
    scene, clear, references, usable, extent, coefficients, whole = large
    core = Window(x, y, min(width, LARGE[1] - x), min(height, LARGE[0] - y))
    padded = core.grow(REACH_PX, extent)
    view = padded.slices_yx
    there = pickle.loads(pickle.dumps(coefficients))  # as it travels to a worker
    prediction = there.predict(references[:, :, *view], usable[:, *view], padded)
    part = fill(scene[:, *view], clear[view], prediction, there.field, padded)
    inner = core.relative_to(padded).slices_yx
    for name in ("ground", "error", "date"):
        got, want = getattr(part, name), getattr(whole, name)
        assert np.array_equal(got[..., *inner], want[..., *core.slices_yx]), name


def test_the_fill_meets_its_surroundings(large):
    """A haze that no date has, over the left: the hole takes it up, its rim cannot be seen."""
    scene, references, usable = make_series(8, shape=LARGE)
    usable[:] = True
    haze = np.zeros(LARGE, np.float32)
    haze[:, :150] = 0.02
    clear = np.ones(LARGE, bool)
    clear[80:120, 50:90] = False
    extent = large[4]
    seen = scene + haze
    coefficients = fit(seen, clear, references, usable, extent, robust=False)
    filled = fill_whole(np.where(clear, seen, 0.9), clear, references, usable, coefficients, extent)
    hole = ~clear
    assert np.abs(filled.ground - seen)[:, hole].max() < 0.004


def test_an_offset_of_a_date_does_not_matter():
    """Another processing baseline is another offset; the intercept takes it up."""
    scene, references, usable = make_series(1, noise=0.01)
    clear = patchy(np.random.default_rng(4), SHAPE, 0.4)
    moved = references.copy()
    moved[1] += 0.1
    grounds = [
        fit(scene, clear, dates, usable).predict(dates, usable, EXTENT).ground
        for dates in (references, moved)
    ]
    assert np.abs(grounds[0] - grounds[1]).max() < 1e-4


@settings(max_examples=FEW)
@given(order=st.permutations([0, 1, 2]))
def test_the_order_of_dates_does_not_matter(order):
    scene, references, usable = make_series(2, noise=0.01)
    clear = patchy(np.random.default_rng(4), SHAPE, 0.4)
    order = list(order)
    straight = fit(scene, clear, references, usable).predict(references, usable, EXTENT)
    mixed, seen = references[order], usable[order]
    turned = fit(scene, clear, mixed, seen).predict(mixed, seen, EXTENT)
    assert np.abs(straight.ground - turned.ground).max() < 1e-4
    back = np.append(order, -1)[turned.date]  # -1 is the last
    assert (back == straight.date).mean() > 0.99


@settings(max_examples=FEW)
@given(bad=st.sampled_from([np.nan, np.inf, -9999.0]), where=st.sampled_from(["scene", "date"]))
def test_what_is_not_seen_never_leaks(bad, where):
    scene, references, usable = make_series(3, noise=0.01)
    clear = patchy(np.random.default_rng(4), SHAPE, 0.4)
    want = fill_whole(
        scene, clear, references, usable, fit(scene, clear, references, usable)
    ).ground
    scene, references = scene.copy(), references.copy()
    if where == "scene":
        scene[:, ~clear] = bad
    else:
        np.copyto(references, bad, where=~usable[:, None])
    coefficients = fit(scene, clear, references, usable)
    with np.errstate(all="raise", under="ignore"):
        got = fill_whole(scene, clear, references, usable, coefficients).ground
    assert np.array_equal(got, want)


@pytest.mark.parametrize("where", ["scene", "date"])
def test_nan_in_what_is_called_clear_is_not_used(where):
    scene, references, usable = make_series(3)
    clear = np.ones(SHAPE, bool)
    (scene if where == "scene" else references[0])[:, 20:30, 20:50] = np.nan
    usable[:] = True
    coefficients = fit(scene, clear, references, usable)
    filled = fill_whole(scene, clear, references, usable, coefficients)
    assert np.isfinite(filled.ground).all()
    assert np.isfinite(filled.error).all()


def test_clouds_that_the_mask_missed_do_not_bend_the_fit():
    scene, references, usable = make_series(6)
    usable[:] = True
    clear = np.ones(SHAPE, bool)
    clear[:, 100:] = False
    cloudy = scene.copy()
    cloudy[:, :40, :70] += 0.4  # over a quarter of what is called clear
    ground = fit(cloudy, clear, references, usable).predict(references, usable, EXTENT).ground
    assert np.abs(ground - scene).max() < 1e-3


def test_a_missed_rim_does_not_shine_into_the_hole():
    scene, references, usable = make_series(6, noise=0.005)
    usable[:] = True
    clear = np.ones(SHAPE, bool)
    clear[30:70, 40:100] = False
    cloudy = scene.copy()
    cloudy[:, 28:72, 38:102] += 0.4  # two pixels wider than the mask
    coefficients = fit(cloudy, clear, references, usable)
    ground = fill_whole(cloudy, clear, references, usable, coefficients).ground
    assert np.abs(ground - scene)[:, ~clear].max() < 0.04


def test_nothing_clear_is_said():
    scene, references, usable = make_series()
    coefficients = fit(scene, np.zeros(SHAPE, bool), references, usable)
    assert coefficients.is_empty
    filled = fill_whole(scene, np.zeros(SHAPE, bool), references, usable, coefficients)
    assert np.isinf(filled.error).all()
    assert np.isfinite(filled.ground).all()


def test_expected_error_is_that_of_planted_noise():
    scene, references, usable = make_series(7, noise=0.02)
    clear = patchy(np.random.default_rng(4), SHAPE, 0.4)
    error = fit(scene, clear, references, usable).predict(references, usable, EXTENT).error
    whole = usable.all(axis=0)
    assert np.allclose(error[:, whole], 0.02, rtol=0.1)
    assert error[:, ~usable.any(axis=0)].min() > error[:, whole].max()


def test_stride_grows_with_the_scene():
    assert plan_stride((100, 100)) == 1
    assert plan_stride((10980, 10980)) == 11


def test_missed_cloud_and_its_shadow_are_found():
    rng = np.random.default_rng(0)
    shape = (160, 170)
    extent = Window(0, 0, 170, 160)
    base = rng.uniform(0.05, 0.4, (3, *shape)).astype(np.float32)  # blue, red, near infrared
    references = np.stack([base, base * np.float32(1.1)])
    usable = np.ones((2, *shape), bool)
    scene = (base * 0.9 + 0.01 + 0.003 * rng.normal(size=base.shape)).astype(np.float32)
    scene[:, 60:80, 80:100] = 0.7  # cloud
    scene[:, 40:56, 50:70] *= 0.4  # its shadow: the sun is in the south-east
    scene[:, 120:136, 120:140] *= 0.4  # dark, but on the sunny side
    coefficients = fit(scene, np.ones(shape, bool), references, usable, extent)
    prediction = coefficients.predict(references, usable, extent)
    bands = BandIndex(blue=0, red=1, nir=2)
    cloud = find_missed_clouds(scene, prediction, bands)
    assert cloud[60:80, 80:100].all()
    cloud[58:82, 78:102] = False
    assert not cloud.any()
    cloud[60:80, 80:100] = True
    shadow = find_shadows(scene, prediction, cloud, bands, Sun(azimuth_deg=130))
    assert shadow[44:54, 54:66].mean() > 0.9
    assert not shadow[110:].any()
    anywhere = find_shadows(scene, prediction, cloud, bands)
    assert anywhere[122:134, 122:138].mean() > 0.9
    assert not find_shadows(scene, prediction, np.zeros(shape, bool), bands).any()


def test_detection_reaches_as_far_as_it_says():
    rng = np.random.default_rng(3)
    shape = (240, 250)
    extent = Window(0, 0, 250, 240)
    base = rng.uniform(0.05, 0.4, (3, *shape)).astype(np.float32)
    usable = np.ones((1, *shape), bool)
    scene = (base + 0.01 * rng.normal(size=base.shape)).astype(np.float32)
    cloud = patchy(rng, shape, 0.8)
    coefficients = fit(scene, ~cloud, base[None], usable, extent)
    scene[:, patchy(rng, shape, 0.5)] = 0.02
    prediction = coefficients.predict(base[None], usable, extent)
    bands = BandIndex(0, 1, 2)
    whole = find_shadows(scene, prediction, cloud, bands, Sun(40))
    core = Window(110, 105, 40, 33)
    padded = core.grow(DETECT_REACH_PX, extent)
    view = padded.slices_yx
    part = coefficients.predict(base[None][:, :, *view], usable[:, *view], padded)
    found = find_shadows(scene[:, *view], part, cloud[view], bands, Sun(40))
    assert whole[core.slices_yx].any()
    assert np.array_equal(found[core.relative_to(padded).slices_yx], whole[core.slices_yx])


def test_picked_dates_lie_before_and_after_and_are_clear():
    day = date(2019, 6, 1)
    shares = {-40: 1.0, -20: 1.0, -10: 0.3, -5: 1.0, 5: 0.05, 10: 1.0, 15: 0.9, 90: 1.0}
    candidates = [Candidate(day + timedelta(days), share) for days, share in shares.items()]
    picked = pick_references(day, candidates, 4)
    assert [(candidates[i].date - day).days for i in picked] == [-20, -5, 10, 15]
    past = [c for c in candidates if c.date < day]
    assert len(pick_references(day, past, 4)) == 4
    assert pick_references(day, [], 4) == []
    assert len(pick_references(day, candidates, 1)) == 1
    # half of the ground at half the distance is no better
    assert pick_references(day, [Candidate(day, 1.0, 0.4), Candidate(day, 0.9)], 1) == [1]
