"""Baselines that need no training: the cloudy image itself, and dark-object subtraction."""

from __future__ import annotations

import numpy as np

from geodecloud.restore.composite import Bool
from geodecloud.training.clouds import Array

#: Percentile that stands for the darkest object, and the reflectance such an object has.
_DARKEST, _DARK_REFLECTANCE = 1.0, 0.01


def do_nothing(image: Array, valid: Bool) -> Array:
    """The cloudy image as it is."""
    return image


def dark_object_subtraction(image: Array, valid: Bool) -> Array:
    """Subtract haze as seen over the darkest object of each band.

    ``J_b = I_b - max(0, p1(I_b) - 0.01)``: the darkest percentile of a band should reflect about
    1 %; the excess is taken for haze, the same everywhere. This removes even haze, not broken cloud,
    and darkens scenes without a dark object.

    Parameters
    ----------
    image : (C, H, W) reflectance
    valid : (H, W), where there is data

    References
    ----------
    P. S. Chavez, An improved dark-object subtraction technique for atmospheric scattering
    correction of multispectral data, Remote Sensing of Environment 24 (1988) 459-479.
    """
    darkest = np.percentile(image[:, valid], _DARKEST, axis=1)[:, None, None]
    return (image - np.maximum(darkest - _DARK_REFLECTANCE, 0)).astype(np.float32)


BASELINES = {"do nothing": do_nothing, "dark-object subtraction": dark_object_subtraction}
