"""Scores of a restored image against the truth."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def psnr_db(image: ArrayLike, truth: ArrayLike, data_range: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(range ** 2 / MSE)``, all bands together.

    Both images are clipped to [0, `data_range`] first. Equal images give infinity.
    """
    a = np.clip(np.asarray(image, np.float64), 0, data_range)
    b = np.clip(np.asarray(truth, np.float64), 0, data_range)
    mse = float(np.mean((a - b) ** 2))
    return math.inf if mse == 0 else 10 * math.log10(data_range**2 / mse)
