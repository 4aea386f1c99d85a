"""What ground is usually like, measured of what is trained on."""

from __future__ import annotations

import numpy as np

from geodecloud.training.chips import Chip
from geodecloud.training.config import Config
from geodecloud.training.dataset import SimulatedClouds
from geodecloud.training.usual_ground import measure_usual_ground


def test_it_is_the_middle_of_dark_and_bright_ground_and_nothing_where_no_band_is():
    shape = (64, 64)
    planes = [np.full(shape, value, np.float32) for value in (0.05, 0.2, 0.0)]
    three = [Chip(np.stack([planes[0] * k, planes[1] * k, planes[2]]), f"{k}") for k in (1, 2, 4)]
    config = Config(
        bands=("B02", "B08", "B10"),
        crop_px=32,
        dim_share=0.0,
        bright_share=0.0,
        optional_bands=("B10",),
    )
    blue, near_infrared, absent = measure_usual_ground(SimulatedClouds(three, [], config, 1))
    # the middle one of three under the haze of six crops in ten; with a gain of 10 % at most, and few settlements
    assert 0.1 < blue < 0.2
    assert 0.36 < near_infrared < 0.5
    assert absent == 0
