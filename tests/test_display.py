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


def test_untouched_ground_stays_and_is_even_now_and_then() -> None:
    contrasts = []
    for pair in drawn(untouched=True):
        np.testing.assert_array_equal(pair.cloudy, pair.clear)
        assert not pair.opacity.any()
        contrasts.append(pair.clear.std())
    textured = [pair.clear.std() for pair in drawn()]
    assert np.mean(contrasts) < 0.85 * np.mean(textured)
