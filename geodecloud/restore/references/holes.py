"""Ground for what a scene does not show: its prediction, brought into line with what is around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.restore.references.coarse import BLOCK_PX, OPEN_SHARES, CoarseField
from geodecloud.restore.references.coefficients import Prediction
from geodecloud.restore.references.pyramid import carry
from geodecloud.restore.references.sample import Array, Bool
from geodecloud.windows.tiler import Window

#: Levels of a window's pyramid: blocks of 1, 2, 4, 8 and 16 px.
LEVELS = 5
#: Ground at a pixel depends on pixels within this distance, and on the coarse field.
REACH_PX = 80
#: Ground brighter than predicted by as many times the error of the fit counts a quarter.
DOUBT = 4.0
#: Rows that are made at once: what belongs to them stays in the processor's cache.
_STRIP_PX = 16
#: Errors below this, in reflectance, are the sensor's.
NOISE = 1e-3


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
    around = _whole_blocks(window, field.origin)
    before = window.relative_to(around)
    values = np.zeros((len(scene), *around.shape_yx), np.float32)
    weight = np.zeros(around.shape_yx, np.float32)
    for row in range(0, window.height, _STRIP_PX):
        strip = np.s_[..., row : row + _STRIP_PX, :]
        own = values[:, *before.slices_yx][strip], weight[before.slices_yx][strip]
        residual = scene[strip] - prediction.ground[strip]
        known = clear[strip] & np.isfinite(scene[strip]).all(axis=0)
        residual[:, ~known] = 0
        own[1][:] = np.where(known, trust(residual, prediction.error[strip]), np.float32(0))
        np.multiply(residual, own[1], out=own[0])
    carried = carry(values, weight, OPEN_SHARES[:LEVELS], field.over(around))
    rows, cols = before.slices_yx
    left = np.where(prediction.date >= 0, *carried.open_share[:, rows, cols])
    return Fill(
        prediction.ground + carried.values[:, rows, cols],
        np.sqrt((prediction.error**2).mean(axis=0) * left),
        prediction.date,
    )


def trust(residual: Array, error: Array) -> Array:
    """Weight (H, W) of a residual: a quarter where it is brighter by `DOUBT` times the fit's error.

    A cloud that the mask missed at the rim of a hole would shine into it otherwise.
    """
    brighter = (residual / (error + np.float32(NOISE))).mean(axis=0).clip(0)
    return np.asarray((1 + (brighter / np.float32(DOUBT)) ** 2) ** -2, np.float32)


def _whole_blocks(window: Window, origin: tuple[int, int]) -> Window:
    """The window grown to the coarse blocks of the scene."""
    left, top = (window.col_off - origin[0]) % BLOCK_PX, (window.row_off - origin[1]) % BLOCK_PX
    width, height = left + window.width, top + window.height
    return Window(
        window.col_off - left,
        window.row_off - top,
        width + -width % BLOCK_PX,
        height + -height % BLOCK_PX,
    )
