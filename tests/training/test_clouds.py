from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from geodecloud.training.chips import Chip, add_atmosphere, draw_crop
from geodecloud.training.clouds import SKIES, fractal_field, simulate_clouds

S2_NM = (492.4, 559.8, 664.6, 832.8)
SEEDS = range(40)
SHAPE_YX = (37, 53)


def ground(channels=4, seed=0):
    y, x = np.mgrid[: SHAPE_YX[0], : SHAPE_YX[1]]
    noise = np.random.default_rng(seed).random((channels, *SHAPE_YX))
    return (0.05 + 0.002 * x + 0.001 * y + 0.1 * noise).astype(np.float32)


def flat(level):
    """Two bands of even ground, which blur leaves as it is; 0 would be an absent band."""
    return np.full((2, *SHAPE_YX), level, np.float32)


BLACK = 1e-6


def sky(seed, clear, wavelengths_nm=S2_NM, **options):
    return simulate_clouds(clear, wavelengths_nm, np.random.default_rng(seed), **options)


@pytest.fixture(scope="module")
def pairs():
    return [sky(seed, ground()) for seed in SEEDS]


def test_the_same_seed_gives_the_same_sky():
    for seed in (0, 1, 2):
        one, other = sky(seed, ground()), sky(seed, ground())
        np.testing.assert_array_equal(one.cloudy, other.cloudy)
        np.testing.assert_array_equal(one.opacity, other.opacity)
        np.testing.assert_array_equal(one.shadow, other.shadow)


def test_other_seeds_give_other_skies(pairs):
    assert len({pair.cloudy.tobytes() for pair in pairs}) == len(pairs)
    cloudy = [pair for pair in pairs if pair.opacity.any()]
    assert len({pair.opacity.tobytes() for pair in cloudy}) == len(cloudy) > len(pairs) / 2


def test_maps_are_in_range_and_arrays_are_float32(pairs):
    for pair in pairs:
        assert pair.cloudy.dtype == pair.opacity.dtype == pair.shadow.dtype == np.float32
        assert pair.cloudy.shape == (4, *SHAPE_YX)
        assert pair.opacity.shape == pair.shadow.shape == SHAPE_YX
        for opacity in (pair.opacity, pair.shadow):
            assert opacity.min() >= 0
            assert opacity.max() <= 1
        assert np.isfinite(pair.cloudy).all()
        shadow = np.fmin(pair.shadow * np.float32(1.5), np.float32(0.33))
        np.testing.assert_array_equal(pair.attention, np.fmax(pair.opacity, shadow))


def test_all_kinds_of_sky_turn_up(pairs):
    assert any(not pair.opacity.any() for pair in pairs)
    assert any(pair.opacity.min() > 0.05 for pair in pairs)
    assert any(pair.opacity.max() > 0.95 for pair in pairs)
    assert any(pair.shadow.max() > 0.2 for pair in pairs)
    assert any(not pair.shadow.any() and pair.opacity.any() for pair in pairs)


def test_ground_under_neither_cloud_nor_shadow_is_itself_but_for_noise(pairs):
    seen = 0
    for pair in pairs:
        open_sky = (pair.opacity == 0) & (pair.shadow == 0)
        change = (pair.cloudy - pair.clear)[:, open_sky]
        assert (np.abs(change) < 6 * 0.004).all()
        seen += change.size
    assert seen > 10_000


def test_the_clear_patch_is_handed_back_untouched():
    clear = ground()
    before = clear.copy()
    pair = sky(5, clear)
    np.testing.assert_array_equal(clear, before)
    np.testing.assert_array_equal(pair.clear, before)


def test_ground_is_dimmed_by_shadow_and_hidden_by_opacity():
    # the same sky over two grounds: cloud and noise cancel in the difference
    clear, black = flat(0.3), flat(BLACK)
    shadowed = 0
    for seed in SEEDS:
        pair = sky(seed, clear, (560, 560))
        passed = pair.cloudy - sky(seed, black, (560, 560)).cloudy
        # skylight: of the direct light lost in a shadow, a fifth comes back
        expected = (1 - pair.opacity) * (1 - 0.8 * pair.shadow) * clear
        np.testing.assert_allclose(passed, expected, atol=2e-6)
        shadowed += pair.shadow.any()
    assert shadowed >= 3


def parallel_shift(opacity, shadow, most=20):
    """The shift under which shadow is a multiple of opacity, None if there is none."""
    height, width = SHAPE_YX
    for dy in range(-most, most + 1):
        for dx in range(-most, most + 1):
            caster = opacity[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
            shade = shadow[max(dy, 0) : height - max(-dy, 0), max(dx, 0) : width - max(-dx, 0)]
            scale = np.vdot(caster, shade) / max(np.vdot(caster, caster), 1e-9)
            if caster.std() > 0.02 and np.abs(shade - scale * caster).max() < 1e-4:
                return dy, dx
    return None


def test_shadow_is_the_opacity_of_the_same_cloud_moved_along():
    pairs = [sky(seed, flat(0.3), (560, 560)) for seed in range(80)]
    shadowed = [pair for pair in pairs if pair.shadow.std() > 0.02]
    shifts = [parallel_shift(pair.opacity, pair.shadow) for pair in shadowed]
    found = [shift for shift in shifts if shift]
    assert len(found) >= 3  # others fell further than could be looked for
    assert np.median([np.hypot(*shift) for shift in found]) > 3


def test_thin_cloud_is_thinner_at_long_wavelengths_by_angstroms_law(monkeypatch):
    monkeypatch.setattr("geodecloud.training.clouds._PARALLAX_M", 0)
    clear, black = flat(0.3), flat(BLACK)
    exponents = []
    for seed in SEEDS:
        pair = sky(seed, clear, (560, 2200))
        passed = (pair.cloudy - sky(seed, black, (560, 2200)).cloudy) / clear
        thin = (pair.opacity > 0.1) & (pair.opacity < 0.9) & (pair.shadow == 0)
        if not thin.any():
            continue
        ratio = np.log(passed[1, thin]) / np.log(1 - pair.opacity[thin])
        gamma = np.log(ratio) / np.log(560 / 2200)
        np.testing.assert_allclose(gamma, np.median(gamma), atol=2e-3)
        exponents.append(np.median(gamma))
    assert -1e-3 < min(exponents) < 0.25
    assert 0.3 < max(exponents) < 0.4 + 1e-3


def test_cloud_is_bright_and_never_flat():
    black = flat(BLACK)
    opaque = 0
    for seed in SEEDS:
        pair = sky(seed, black, (560, 560))
        dense = pair.opacity > 0.5
        if dense.sum() < 100:
            continue
        cloud = pair.cloudy[:, dense] / pair.opacity[dense]
        assert cloud.min() > 0.25 * 0.2 - 0.05
        assert cloud.max() < 2.1
        opaque += cloud[0].std() > 0.01
    assert opaque >= 5


def test_crops_of_real_cloud_are_used_as_they_are():
    # under one wavelength a made-up cloud is grey, these textures are not: their ratio is 3
    y, x = np.mgrid[:60, :80]
    texture = np.stack([100 + y + 10 * x, 3 * (100 + y + 10 * x)]).astype(np.float32)
    black = flat(BLACK)
    made_up = real = 0
    for seed in range(60):
        pair = sky(seed, black, (560, 560), textures=[texture])
        if pair.opacity.min() < 0.05:
            continue
        cloud = pair.cloudy / pair.opacity
        if cloud[0].max() < 10:
            made_up += 1
            continue
        real += 1
        np.testing.assert_allclose(cloud[1], 3 * cloud[0], rtol=1e-2)
        down, right = np.diff(cloud[0], axis=0), np.diff(cloud[0], axis=1)
        np.testing.assert_allclose(np.abs(right), 10 * np.abs(down).mean(), rtol=0.05)
        assert 0.65 < np.abs(down).mean() < 1.35
    assert made_up >= 3
    assert real >= 3


def test_a_texture_may_be_just_as_large_as_the_patch():
    texture = np.full((4, *SHAPE_YX), 0.7, np.float32)
    for seed in range(10):
        assert np.isfinite(sky(seed, ground(), textures=[texture]).cloudy).all()


def test_an_absent_band_stays_zero_and_changes_nothing_about_the_sky_over_it():
    clear = ground()
    clear[3] = 0
    for seed in SEEDS:
        assert not sky(seed, clear).cloudy[3].any()


@pytest.mark.parametrize("whole_pixels", [True, False])
def test_a_gap_darkens_no_ground_beside_it(whole_pixels):
    """Even ground stays even under any blur, so it is what it would be without the gap."""
    clear = np.full((4, *SHAPE_YX), 0.3, np.float32)
    gaps = np.zeros(clear.shape, bool)
    gaps[slice(None) if whole_pixels else slice(1, 2), 9:20, :25] = True
    gappy = np.where(gaps, np.float32(0), clear)
    blurred = 0
    for seed in SEEDS:
        there, whole = (
            sky(seed, image, gaps=None if image is clear or whole_pixels else gaps)
            for image in (gappy, clear)
        )
        np.testing.assert_allclose(there.cloudy[~gaps], whole.cloudy[~gaps], atol=1e-6)
        np.testing.assert_array_equal(there.opacity, whole.opacity)
        blurred += (there.opacity > 0.3).any()
    assert blurred > 10


def shifts_between_green_and_red(**options):
    found = []
    for seed in range(60):
        pair = sky(seed, flat(BLACK), (560, 665), **options)
        if pair.opacity.std() < 0.05:
            continue
        green, red = (band - band.mean() for band in pair.cloudy)
        power = np.fft.fft2(green) * np.conj(np.fft.fft2(red))
        peak = np.unravel_index(np.abs(np.fft.ifft2(power)).argmax(), SHAPE_YX)
        shift = [min(i, n - i) for i, n in zip(peak, SHAPE_YX, strict=True)]
        found.append(np.hypot(*shift))
    return np.array(found)


def test_high_cloud_moves_between_the_bands_and_low_cloud_hardly():
    """The red band looks 0.5 s after the green one: 4 px of 10 m for cirrus at 10 km."""
    shifts = shifts_between_green_and_red()
    assert 3 <= shifts.max() <= 1000 * 11 * 6.7 / 786 * 0.478 / 10 + 1.5
    assert (shifts < 1.5).mean() > 0.3
    # which is less than one of 60 m
    assert shifts_between_green_and_red(pixel_m=60).max() < 1.5


def test_shadows_fall_as_far_in_metres_whatever_the_pixel():
    compared = 0
    for seed in range(80):
        fine, coarse = (sky(seed, flat(0.3), (560, 560), pixel_m=m) for m in (100, 200))
        near = parallel_shift(fine.opacity, fine.shadow) if fine.shadow.std() > 0.02 else None
        if near is None or max(map(abs, near)) > 15:  # little is left to compare
            continue
        half = parallel_shift(coarse.opacity, coarse.shadow)
        assert half
        np.testing.assert_allclose(2 * np.array(half), near, atol=1.5)  # both are whole px
        compared += 1
    assert compared >= 3


def test_water_vapour_hides_low_cloud_in_b10_and_infrared_dims_ice(monkeypatch):
    monkeypatch.setattr("geodecloud.training.clouds._PARALLAX_M", 0)
    clear = np.full((3, *SHAPE_YX), 0.001, np.float32)
    low, high, swir = [], [], []
    for kind, shares in (("cumulus", low), ("cirrus", high)):
        skies = {name: float(name == kind) for name in SKIES}
        monkeypatch.setattr("geodecloud.training.clouds.SKIES", skies)
        for seed in SEEDS:
            pair = sky(seed, clear, (560, 1373.5, 2202))
            dense = pair.opacity > 0.3
            if dense.sum() > 50:
                green, cirrus_band, infrared = pair.cloudy[:, dense].mean(axis=1)
                shares.append(cirrus_band / green)
                swir.append(infrared / green)
    assert np.median(low) < 0.1 < 0.5 < np.median(high)
    assert max(swir) < 1.1


@pytest.mark.parametrize("wavelengths_nm", [(), (492.4, 559.8, 664.6), (*S2_NM, 1613.7)])
def test_each_channel_needs_a_wavelength(wavelengths_nm):
    with pytest.raises(ValueError, match=f"{len(wavelengths_nm)} wavelengths for 4 channels"):
        sky(0, ground(), wavelengths_nm)


@pytest.mark.parametrize("beta", [2.0, 3.0, 4.0])
@pytest.mark.parametrize("size_px", [101, 128])
def test_fractal_field_has_the_spectrum_asked_for(beta, size_px):
    field = fractal_field(size_px, beta, np.random.default_rng(8))
    assert field.shape == (size_px, size_px)
    assert field.dtype == np.float32
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    power = np.abs(np.fft.fft2(field.astype(np.float64))) ** 2
    f = np.hypot(np.fft.fftfreq(size_px)[:, None], np.fft.fftfreq(size_px)[None, :])
    inner = (f > 2 / size_px) & (f < 0.4)
    slope = np.polyfit(np.log(f[inner]), np.log(power[inner]), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.4)


def test_stretch_draws_structures_out_along_one_direction():
    def elongation(stretch, seed):
        field = fractal_field(96, 3.0, np.random.default_rng(seed), stretch)
        gradients = np.stack([g.ravel() for g in np.gradient(field)])
        least, most = np.linalg.eigvalsh(np.cov(gradients))
        return most / least

    assert max(elongation(1.0, seed) for seed in range(5)) < 2
    assert min(elongation(6.0, seed) for seed in range(5)) > 4


def test_haze_brightens_short_waves_most_and_is_strong_now_and_then() -> None:
    wavelengths = [492, 560, 665, 865, 1614]
    ground = np.full((5, 4, 4), 0.1, np.float32)
    ground[3] = 0  # a band that is not there
    added = np.array(
        [
            (add_atmosphere(ground, wavelengths, np.random.default_rng(seed)) - ground)[:, 0, 0]
            for seed in range(300)
        ]
    )
    assert (added[:, 3] == 0).all()
    assert (np.diff(added[:, [0, 1, 2, 4]], axis=1) < 0).all()
    red = added[:, 2]
    # molecules alone give at most 0.03; the air over large towns sends 0.1 and more
    assert 0.1 < red.max() < 0.2
    assert np.median(red) < 0.05


def test_an_overcast_sky_leaves_no_pixel_clear() -> None:
    clear = np.full((2, 48, 48), 0.2, np.float32)
    pairs = [
        simulate_clouds(clear, [560, 665], np.random.default_rng(n), skies={"overcast": 1.0})
        for n in range(20)
    ]
    # exp(-0.3) of the light at most comes through, and under most of them hardly any
    assert min(pair.opacity.min() for pair in pairs) >= 1 - np.exp(-0.3) - 1e-6
    assert np.mean([pair.opacity.mean() for pair in pairs]) > 0.85


def test_a_fair_sky_has_many_small_clouds() -> None:
    clear = np.full((1, 192, 192), 0.2, np.float32)

    def largest(sky: str) -> float:
        """Side of the largest cloud, px, in the mean over skies."""
        sides = []
        for n in range(12):
            pair = simulate_clouds(clear, [560], np.random.default_rng(n), skies={sky: 1.0})
            labels, count = ndimage.label(pair.opacity > 0.3)
            sides += [np.bincount(labels.ravel())[1:].max() ** 0.5] if count else []
        return float(np.mean(sides))

    assert largest("fair") < 0.5 * largest("cumulus")


def test_shares_of_dim_and_bright_ground_set_its_mean() -> None:
    chips = [Chip(np.full((1, 64, 64), 0.2, np.float32), "even")]

    def mean(dim: float, bright: float) -> float:
        drawn = [
            draw_crop(chips, 32, [833.0], np.random.default_rng(n), 0.5, dim, bright)
            for n in range(200)
        ]
        return float(np.median(drawn))

    assert mean(1.0, 0.0) < mean(0.0, 0.0) < mean(0.0, 1.0)
