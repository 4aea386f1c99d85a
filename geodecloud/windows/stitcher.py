"""Windows back into one image, without a seam.

Two ways, and the model decides which. A model of finite reach gets a halo at least as wide
and each pixel is *placed* by the one core that owns it (`geodecloud.restore.chunk` does so, with plain
assignment): this is the whole-image result. A
model of unlimited reach has no such halo; its overlapping windows are *blended* with a taper,
and the sum is always divided by the sum of the weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geodecloud.errors import CoverageError
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]


def taper(length: int, overlap_px: int) -> NDArray[np.float64]:
    """Weights along one axis of a window that overlaps its neighbours by `overlap_px`.

    ``sin^2`` of the distance from the edge, sampled at pixel centres: never 0, so no pixel of
    the scene's edge is lost, and ``taper[:o] + taper[-o:][...]`` of two neighbours is 1.

    Returns
    -------
    (length,) float64 in (0, 1]
    """
    ramp_px = min(overlap_px, length // 2)
    weights = np.ones(length)
    if ramp_px:
        ramp = np.sin(np.pi / 2 * (np.arange(ramp_px) + 0.5) / ramp_px) ** 2
        weights[:ramp_px] = ramp
        weights[-ramp_px:] = ramp[::-1]
    return weights


class Mosaic:
    """Collects window results over a region.

    Parameters
    ----------
    channels : int
    region : Window
        In scene pixels; windows may stick out, what is outside is dropped.
    """

    def __init__(self, channels: int, region: Window) -> None:
        self.region = region
        self._sum = np.zeros((channels, *region.shape_yx), np.float64)
        self._weight = np.zeros(region.shape_yx, np.float64)

    def add(self, window: Window, patch: Array, overlap_px: int = 0) -> None:
        """Add one window's result (C, H, W); with `overlap_px` weighted by the taper."""
        if not window.intersects(self.region):
            return
        weight = np.outer(taper(window.height, overlap_px), taper(window.width, overlap_px))
        seen = window.grow(0, within=self.region)
        inner = seen.relative_to(window).slices_yx
        outer = seen.relative_to(self.region).slices_yx
        self._sum[:, *outer] += patch[:, *inner] * weight[inner]
        self._weight[outer] += weight[inner]

    def result(self) -> Array:
        """The mosaic (C, H, W) float32.

        Raises
        ------
        CoverageError
            If a pixel was written by no window.
        """
        missing = int((self._weight == 0).sum())
        if missing:
            raise CoverageError(f"{missing} pixels of {self.region} were written by no window")
        return (self._sum / self._weight).astype(np.float32)
