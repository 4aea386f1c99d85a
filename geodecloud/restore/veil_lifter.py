"""Stands in for the network where a veil lies over the whole of a picture: it is lifted everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodecloud.models.veil import Veil
from geodecloud.restore.composite import Bool
from geodecloud.restore.ground_around import GroundAround
from geodecloud.scene.reflectance import Tone
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]


@dataclass(frozen=True)
class VeilLifter:
    """Lifts one veil; has the methods of `geodecloud.restore.network.NetworkPredictor`.

    Attributes
    ----------
    veil : its opacity and colour
    tone : the veil lies over the picture as it is seen, not over the light it stands for
    """

    veil: Veil
    tone: Tone

    @property
    def context_px(self) -> int:
        """Context the prediction of one pixel needs: none."""
        return 0

    @property
    def opaque_threshold(self) -> float:
        """The ground shows through everywhere."""
        return 1.0

    def restore(
        self,
        image: Array,
        usable: Bool,
        wanted: Bool,
        region: Window,
        padded: Window,
        around: GroundAround | None = None,
    ) -> tuple[Array, Array]:
        """Ground under the veil (C, H, W), and its opacity (H, W), over `region`."""
        seen = image[:, *region.relative_to(padded).slices_yx]
        lifted: Array = self.tone.light(self.veil.lift(self.tone.values(seen))).astype(np.float32)
        return lifted, np.full(region.shape_yx, self.veil.opacity, np.float32)

    def find_clouds(self, opacity: Array) -> Bool:
        """The veil is everywhere."""
        return np.ones(opacity.shape, bool)

    def find_hidden(self, opacity: Array) -> Bool:
        """The ground shows through it."""
        return np.zeros(opacity.shape, bool)
