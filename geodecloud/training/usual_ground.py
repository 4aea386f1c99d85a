"""What ground is usually like in what a model learns from: what stands where nothing of a scene tells."""

from __future__ import annotations

import numpy as np

from geodecloud.training.dataset import SimulatedClouds

#: Of all cards, so that they can be compared; crops, and the step of the pixels that are taken of each.
_SEED, _CROPS, _STEP = 99, 400, 16


def measure_usual_ground(examples: SimulatedClouds) -> tuple[float, ...]:
    """Median reflectance of each band, of clear ground as it is drawn for training; 0 for a band that is nowhere.

    Under opaque cloud with nothing clear in reach, the median is the guess of the least absolute error, the
    one that the L1 loss leads a network to as well, were it trained for ever.
    """
    pixels = []
    for number in range(_CROPS):
        rng = np.random.default_rng([_SEED, number])
        crop, _ = examples.draw_ground(rng, examples.config.crop_px)
        pixels.append(crop[:, ::_STEP, ::_STEP].reshape(len(crop), -1))
    bands = np.concatenate(pixels, axis=1)
    medians = (np.median(band[band != 0]) if band.any() else 0 for band in bands)
    return tuple(round(float(median), 4) for median in medians)
