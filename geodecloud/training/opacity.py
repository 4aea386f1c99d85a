"""Opacity of the clouds of a real pair, estimated from its two dates where that is possible."""

from __future__ import annotations

import numpy as np

from geodecloud.errors import OptionError
from geodecloud.training.clouds import Array
from geodecloud.training.losses import UNKNOWN
from geodecloud.training.pairs import Pair

VISIBLE = ("B02", "B03", "B04")
#: Reflectance of a thick cloud in the visible, the middle of what the simulator draws.
CLOUD = 0.65
#: Brightening in the visible up to which a pixel counts as clear, and from which it counts as cloud;
#: in between it may be haze or a change of the ground.
CLEAR, BRIGHTER = 0.015, 0.04
#: A cloud brightens blue at least by this share of what it brightens red; bare soil does not.
BLUE_OF_RED = 0.75


def estimate_attention(pair: Pair) -> Array:
    """Opacity of the cloud over each pixel, or `UNKNOWN`.

    With a cloud of reflectance ``c`` and opacity ``a`` over ground ``g``, the cloudy date is
    ``a * c + (1 - a) * g``; solved for ``a`` in the mean of the visible bands. Unknown are slight
    brightening, ground that became darker (cast shadow, or water, or growth), and brightening
    that is red.

    Returns
    -------
    (H, W) float32 in [0, 1], or -1

    Raises
    ------
    OptionError
        If the pair lacks a visible band.
    """
    if missing := [name for name in VISIBLE if name not in pair.bands]:
        raise OptionError(
            f"pair {pair.name} has no band {missing[0]}; learn_pairs needs {', '.join(VISIBLE)} to tell "
            "where its clouds are"
        )
    which = [pair.bands.index(name) for name in VISIBLE]
    ground, change = pair.clear[which], pair.cloudy[which] - pair.clear[which]
    mean = change.mean(axis=0)
    room = np.maximum(CLOUD - ground.mean(axis=0), 0.1)
    opacity: Array = np.clip(mean / room, 0, 1).astype(np.float32)
    opacity[(mean < BRIGHTER) | (change[0] < BLUE_OF_RED * change[2])] = UNKNOWN
    opacity[np.abs(change).max(axis=0) < CLEAR] = 0
    return opacity
