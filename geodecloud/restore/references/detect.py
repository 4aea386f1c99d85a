"""Clouds and shadows that a mask missed, and bright ground that it took for cloud."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter, uniform_filter

from geodecloud.restore.references.coefficients import Prediction
from geodecloud.restore.references.sample import Array, Bool
from geodecloud.restore.shade import shifted

#: Brighter in the blue than predicted, by as many errors of the fit and by as much reflectance: cloud.
CLOUD_ERRORS, CLOUD_STEP = 5.0, 0.02
#: Missed clouds are at least about as wide.
CLOUD_PX = 7
#: Darker in the near infrared, by as many errors and down to this share of what is predicted: shadow.
SHADOW_ERRORS, SHADOW_SHARE = 2.0, 0.8
#: A shadow lies at most this far from its cloud; further ones are for the scene's own mask.
SHADOW_PX = 96
#: Pixels around a find that go with it.
RIM_PX = 2
#: What these functions say of a pixel depends on pixels within this distance.
DETECT_REACH_PX = SHADOW_PX + 2 * RIM_PX + 4
#: The same, of clouds alone.
CLOUD_REACH_PX = CLOUD_PX + 3 * RIM_PX
#: A rim this wide around the line from a cloud away from the sun, for clouds have a height.
_LINE_PX = 3


@dataclass(frozen=True)
class BandIndex:
    """0-based channels of the scene; None where it has no such band."""

    blue: int
    red: int | None = None
    nir: int | None = None


@dataclass(frozen=True)
class Sun:
    """Where the sun stands, in the scene's grid.

    Attributes
    ----------
    azimuth_deg : clockwise from the top of the image
    """

    azimuth_deg: float


def find_missed_clouds(scene: Array, prediction: Prediction, bands: BandIndex) -> Bool:
    """Pixels (H, W) that are brighter in the blue than the other dates allow.

    Bright soil is brighter in the red by more: that is no cloud. Single pixels are none, either.

    Parameters
    ----------
    scene : (C, H, W) float32, reflectance; NaN is no cloud
    prediction : of the same pixels
    bands : which channel is which
    """
    change = scene[bands.blue] - prediction.ground[bands.blue]
    least = np.maximum(CLOUD_ERRORS * prediction.error[bands.blue], np.float32(CLOUD_STEP))
    with np.errstate(invalid="ignore"):
        found = (change > least) & (prediction.date >= 0)
        if bands.red is not None:
            found &= change > 0.5 * (scene[bands.red] - prediction.ground[bands.red])
    # narrow finds are edges of fields and banks that moved: a cloud fills most of what is around it
    return _grown(found & _grown(_most(found, CLOUD_PX)))


def find_shadows(
    scene: Array, prediction: Prediction, is_cloud: Bool, bands: BandIndex, sun: Sun | None = None
) -> Bool:
    """Pixels (H, W) darker than the other dates allow, on the far side of a cloud from the sun.

    Parameters
    ----------
    scene : (C, H, W) float32, reflectance
    prediction : of the same pixels
    is_cloud : (H, W) bool, all clouds known
    bands : which channel is which; without a near infrared there are no shadows
    sun : None: not known, so shadows may lie anywhere around a cloud
    """
    if bands.nir is None or not is_cloud.any():
        return np.zeros(is_cloud.shape, bool)
    ground, error = prediction.ground, prediction.error
    with np.errstate(invalid="ignore"):
        found = scene[bands.nir] < ground[bands.nir] - SHADOW_ERRORS * error[bands.nir]
        found &= scene[bands.nir] < SHADOW_SHARE * ground[bands.nir]
        for band in (bands.blue, bands.red):  # a field that was ploughed is brighter in the visible
            if band is not None:
                found &= scene[band] < ground[band] + error[band]
    found &= (prediction.date >= 0) & ~is_cloud
    return _grown(_most(found) & shaded(is_cloud, sun)) & ~is_cloud


def shaded(is_cloud: Bool, sun: Sun | None) -> Bool:
    """Pixels (H, W) where clouds of any height can throw their shadow, up to `SHADOW_PX` away."""
    if sun is None:
        return np.asarray(maximum_filter(is_cloud, 2 * SHADOW_PX + 1, mode="constant"))
    azimuth = math.radians(sun.azimuth_deg)
    reached = is_cloud.copy()
    for step in range(_LINE_PX, SHADOW_PX + 1, _LINE_PX):
        # away from the sun: it stands at (sin, -cos) in (x, y), y pointing down
        down, right = round(step * math.cos(azimuth)), round(-step * math.sin(azimuth))
        reached |= shifted(is_cloud, down, right)
    return np.asarray(maximum_filter(reached, 2 * _LINE_PX + 1, mode="constant"))


def _most(found: Bool, side_px: int = 3) -> Bool:
    """Where more than half of the square of pixels around is found."""
    share: NDArray[np.float32] = uniform_filter(found.astype(np.float32), side_px, mode="constant")
    return share > 0.5


def _grown(found: Bool) -> Bool:
    return np.asarray(binary_dilation(found, iterations=RIM_PX)) if found.any() else found
