"""Windows back into one image, without a seam.

Each pixel is *placed* by the one core that owns it. The windows bring a halo at least as wide as the
network's reach, so what is placed is what the network would give for the whole scene: there is
nothing to blend, and no seam to hide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geodecloud.errors import CoverageError
from geodecloud.windows.tiler import Window


class Mosaic:
    """Collects the cores of windows over a region.

    Parameters
    ----------
    channels : int
    region : Window
        In scene pixels.
    """

    def __init__(self, channels: int, region: Window) -> None:
        self.region = region
        self._image = np.zeros((channels, *region.shape_yx), np.float32)
        self._count = np.zeros(region.shape_yx, np.uint8)

    def place(self, core: Window, patch: NDArray[np.float32]) -> None:
        """Place one core's result (C, H, W); the core lies in the region."""
        where = core.relative_to(self.region).slices_yx
        self._image[:, *where] = patch
        self._count[where] += 1

    def image(self, wanted: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The mosaic (C, H, W) float32, 0 where nothing was placed.

        Parameters
        ----------
        wanted : (H, W), pixels that must have been placed

        Raises
        ------
        CoverageError
            If a wanted pixel was placed by no core, or any by more than one.
        """
        missing, twice = int((self._count[wanted] == 0).sum()), int((self._count > 1).sum())
        if missing or twice:
            raise CoverageError(
                f"{missing} pixels of {self.region} were written by no window, {twice} by several"
            )
        return self._image
