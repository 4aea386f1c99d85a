"""Pictures drawn of simulated pairs."""

from __future__ import annotations

import numpy as np
from conftest import textured_dn

from geodecloud.training.clouds import SimulatedPair
from geodecloud.training.display import draw_picture

NONE = np.zeros((60, 60), np.float32)
GROUND = (textured_dn(3, 60, 60) / 1e4).astype(np.float32)
BARE = SimulatedPair(GROUND, GROUND, NONE, NONE)


def drawn(**options: object) -> list[SimulatedPair]:
    return [draw_picture(BARE, np.random.default_rng(seed), **options) for seed in range(60)]


def test_pictures_have_256_levels() -> None:
    for pair in drawn():
        for image in (pair.cloudy, pair.clear):
            levels = image * 255
            np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
            assert levels.min() >= 0
            assert levels.max() <= 255.001


def test_a_veil_takes_contrast_and_its_opacity_says_so() -> None:
    veiled = [pair for pair in drawn() if pair.opacity.any()]
    assert 15 < len(veiled) < 45  # half of them
    for pair in veiled:
        opacity = pair.opacity[None]
        # what is left of the ground, and a grey that is the same all over
        grey = (pair.cloudy - (1 - opacity) * pair.clear) / opacity
        assert np.ptp(grey) < 0.08  # 0.04 between channels, and rounding
        assert 0.35 < grey.mean() < 0.65


def test_there_is_no_veil_in_false_colour() -> None:
    for pair in drawn(false_colour=True):
        np.testing.assert_array_equal(pair.cloudy, pair.clear)
        assert not pair.opacity.any()


def test_untouched_ground_stays_and_is_even_now_and_then() -> None:
    contrasts = []
    for pair in drawn(untouched=True):
        np.testing.assert_array_equal(pair.cloudy, pair.clear)
        assert not pair.opacity.any()
        contrasts.append(pair.clear.std())
    textured = [pair.clear.std() for pair in drawn(veiled=False)]
    assert np.mean(contrasts) < 0.85 * np.mean(textured)
