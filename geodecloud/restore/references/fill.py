"""Ground for what a scene does not show: its prediction, brought into line with what is around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.coarse import BLOCK_PX, CoarseField
from geodecloud.restore.references.coefficients import Prediction
from geodecloud.restore.references.pyramid import carry_levels
from geodecloud.restore.references.sample import Array, Bool
from geodecloud.windows.tiler import Window

#: Levels of a window's pyramid: blocks of 1, 2, 4, 8 and 16 px.
LEVELS = 5
#: Ground at a pixel depends on pixels within this distance, and on the coarse field.
REACH_PX = 80


@dataclass(frozen=True)
class Fill:
    """Ground of other dates, or of around, in the radiometry of the scene.

    Attributes
    ----------
    ground : (C, H, W) float32, reflectance
    error : (H, W) float32, expected root mean square error over the bands
    date : (H, W) int8, see `Prediction`
    """

    ground: Array
    error: Array
    date: NDArray[np.int8]


def fill(
    scene: Array, clear: Bool, prediction: Prediction, field: CoarseField, window: Window
) -> Fill:
    """Fill a window.

    Parameters
    ----------
    scene : (C, H, W) float32, reflectance
    clear : (H, W) bool
    prediction : of the same window
    field : of the scene's coefficients
    window : absolute pixels of the scene
    """
    clear = clear & np.isfinite(scene).all(axis=0)
    residual = np.where(clear, scene - prediction.ground, 0).astype(np.float32)
    block = BLOCK_PX // 2
    left, top = (
        (window.col_off - field.origin[0]) % block,
        (window.row_off - field.origin[1]) % block,
    )
    bottom, right = -(top + window.height) % BLOCK_PX, -(left + window.width) % BLOCK_PX
    ext = Window(
        window.col_off - left,
        window.row_off - top,
        left + window.width + right,
        top + window.height + bottom,
    )
    padding = ((top, bottom), (left, right))
    values = np.pad(residual, ((0, 0), *padding))
    weight = np.pad(clear.astype(np.float32), padding)
    carried = carry_levels(values, weight, field.over(ext, BLOCK_PX), LEVELS, FIRST)
    inner = (slice(top, top + window.height), slice(left, left + window.width))
    return Fill(prediction.ground + carried[:, *inner], prediction.error, prediction.date)


FIRST = 0
