from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from geodecloud.models.architecture import Architecture
from geodecloud.models.card import Channel, ModelCard
from geodecloud.training.calibrate import calibrate
from geodecloud.training.chips import Chip, draw_crop
from geodecloud.training.clouds import simulate_clouds
from geodecloud.training.config import Config
from geodecloud.training.dataset import SimulatedClouds
from geodecloud.training.pairs import Pair

CARD = ModelCard(name="x", summary="", channels=(Channel("B02", 492.0), Channel("B03", 560.0)))


class Stub(nn.Module):
    """Restores to a constant ground; its map is the first band."""

    architecture = Architecture(output="blend")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(image, 0.1), image[:, :1].clamp(0, 1)


def checkered(cloud: float, ground: float) -> Pair:
    """Cloud on the left, with its value as the map's; ground on the right."""
    clear = np.full((2, 60, 80), 0.1, np.float32)
    clear[:, :, 40:] = ground
    cloudy = clear.copy()
    cloudy[:, :, :40] = cloud
    return Pair("p", cloudy, clear)


def examples(seed: int) -> SimulatedClouds:
    chips = [Chip(np.full((2, 128, 128), 0.1, np.float32), "here")]
    config = Config(bands=("B02", "B03"), crop_px=128, seed=seed)
    return SimulatedClouds(chips, [], config, 64)


def test_threshold_is_the_highest_that_still_finds_the_cloud() -> None:
    # cloud at 0.28, bright clear ground at 0.16: the truth lies between, at 0.25
    card = calibrate(Stub(), CARD, [checkered(0.28, 0.16)], examples(1))
    assert card.cloud_threshold == 0.25
    card = calibrate(Stub(), CARD, [checkered(0.9, 0.12)], examples(1))
    assert card.cloud_threshold == 0.6
    assert calibrate(Stub(), CARD, [], examples(1)).cloud_threshold == CARD.cloud_threshold


def test_clear_ground_that_would_be_harmed_raises_the_threshold() -> None:
    """Ground at 0.45 is taken for cloud by the map below that, which ruins the clear image."""
    pair = checkered(0.9, 0.45)
    assert calibrate(Stub(), CARD, [pair], None).cloud_threshold == 0.6


def test_a_pair_without_cloud_does_not_break_the_choice() -> None:
    """Its cloudy image is its clear one: PSNR would be infinite. Ground at 0.45 is harmed below that."""
    bare = checkered(0.1, 0.45)
    assert np.array_equal(bare.cloudy, bare.clear)
    assert calibrate(Stub(), CARD, [bare, checkered(0.9, 0.1)], None).cloud_threshold == 0.6
    assert calibrate(Stub(), CARD, [bare], None).cloud_threshold == 0.6


def test_a_map_that_is_certain_can_still_be_exceeded() -> None:
    class Certain(Stub):
        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return image, torch.full_like(image[:, :1], 0.9965)

    assert calibrate(Certain(), CARD, [], examples(1)).opaque_threshold == 0.99


def test_most_hidden_ground_lies_above_the_opaque_threshold() -> None:
    """On a sky drawn here by the same seed, counted without the function under test."""
    card = calibrate(Stub(), CARD, [], examples(5))
    chips = [Chip(np.full((2, 128, 128), 0.1, np.float32), "here")]
    seen = []
    for index in range(64):
        rng = np.random.default_rng([5, index])
        clear = draw_crop(chips, 128, [492.4, 559.8], rng)
        rng.random()  # whether to take bands away
        rng.random()  # whether there is no cloud for certain
        pair = simulate_clouds(clear, [492.4, 559.8], rng)
        seen.append(np.clip(pair.cloudy[0], 0, 1)[pair.opacity >= 0.95])
    assert abs((np.concatenate(seen) >= card.opaque_threshold).mean() - 0.9) < 0.02
