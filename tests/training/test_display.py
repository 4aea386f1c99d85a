"""Pictures drawn of simulated pairs."""

from __future__ import annotations

import numpy as np
from conftest import textured_dn

from geodecloud.training.chips import Chip
from geodecloud.training.clouds import SimulatedPair
from geodecloud.training.config import Config
from geodecloud.training.dataset import SimulatedClouds, coarsen
from geodecloud.training.display import draw_picture, even_ground

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


def test_opacity_of_a_picture_is_what_one_sees() -> None:
    """A root makes a veil of a tenth over black water look like one of a third of white."""
    water, cloud = np.full((3, 60, 60), 1e-4, np.float32), np.full((3, 60, 60), 0.9, np.float32)
    opacity, shadow = NONE.copy(), NONE.copy()
    opacity[:20], shadow[40:] = 0.1, 0.3
    cloudy = (1 - opacity) * (1 - shadow) * water + opacity * cloud
    pair = SimulatedPair(cloudy.astype(np.float32), water, opacity, shadow)
    beyond = 0
    for seed in range(60):
        picture = draw_picture(pair, np.random.default_rng(seed), false_colour=True)
        assert not picture.opacity[20:].any()
        assert not picture.shadow[:40].any()
        assert (picture.opacity[:20] >= 0.1).all()
        white = picture.clear + picture.opacity * (1 - picture.clear)
        # of pure white, and of the opacity of the picture: the brightest channel at most
        assert (picture.cloudy[:, :20].max(axis=0) <= white[:, :20].max(axis=0) + 1 / 255).all()
        beyond += picture.opacity[:20].mean() > 0.25
    assert beyond > 20


def test_even_ground_is_the_own_or_water_or_soil() -> None:
    """Water darkens towards the infrared and soil brightens: no ground made even does the reverse."""
    wavelengths = (490.0, 665.0, 1614.0)
    drawn = [even_ground(GROUND, wavelengths, np.random.default_rng(seed)) for seed in range(300)]
    even = [image for image in drawn if image is not GROUND]
    assert 60 < len(even) < 150
    ratios = []
    for image in even:
        assert image.min() >= 0
        assert (image.std(axis=(1, 2)) < 0.65 * GROUND.std(axis=(1, 2))).all()
        blue, _, infrared = np.median(image, axis=(1, 2))
        ratios.append(infrared / blue)
    own = np.median(GROUND[2]) / np.median(GROUND[0])
    kinds = [np.isclose(r, own, rtol=0.01) for r in ratios]
    assert 10 < sum(kinds) < len(even)
    assert sum(r < 0.32 for r in ratios) > 10
    assert sum(r > 1.0 for r in ratios) > 10


def test_absent_bands_stay_absent_on_even_ground() -> None:
    ground = GROUND.copy()
    ground[1] = 0
    for seed in range(30):
        image = even_ground(ground, (490, 665, 1614), np.random.default_rng(seed))
        assert not image[1].any()


def test_pictures_are_drawn_from_afar_too() -> None:
    """As large as asked for, however much it covers; textures may be smaller than that."""
    bands = ("B02", "B03", "B04")
    chips = [Chip(np.full((3, 100, 100), 0.2, np.float32), "here")]
    config = Config(bands=bands, display_share=1.0, crop_px=24, adversarial_weight=0.0)
    textures = [np.full((3, 30, 30), 0.7, np.float32)]  # smaller than a patch of three times 24
    examples = SimulatedClouds(chips, textures, config, 60)
    sharp = []
    for index in range(60):
        pair = examples.draw(index)
        assert pair.cloudy.shape == pair.clear.shape == (3, 24, 24)
        assert pair.opacity.shape == pair.shadow.shape == (24, 24)
        sharp.append(np.abs(np.diff(pair.opacity, axis=0)).max())
    assert max(sharp) > 0.2


def test_a_coarse_pixel_is_the_mean_of_those_it_covers() -> None:
    rng = np.random.default_rng(0)
    images = [
        rng.random(shape).astype(np.float32) for shape in ((3, 12, 18),) * 2 + ((12, 18),) * 2
    ]
    pair = coarsen(SimulatedPair(*images), 3)
    for coarse, fine in zip(
        (pair.cloudy, pair.clear, pair.opacity, pair.shadow), images, strict=True
    ):
        assert coarse.shape[-2:] == (4, 6)
        np.testing.assert_allclose(
            coarse[..., 2, 5], fine[..., 6:9, 15:18].mean((-2, -1)), rtol=1e-5
        )
    assert coarsen(pair, 1) is pair
