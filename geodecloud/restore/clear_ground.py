"""Where another date shows ground: by the classification it carries, or by the model's cloud map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.masks.classes import Meaning, classify
from geodecloud.restore.composite import MARGIN_PX, Bool, add_margin
from geodecloud.restore.network import NetworkPredictor
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]


@dataclass(frozen=True)
class GroundOf:
    """Where a classification of a kind says that ground is seen, away from the rims of clouds."""

    kind: str

    def __call__(self, values: NDArray[Any], *, core: Window, padded: Window) -> tuple[Bool]:
        """Ground (H, W) of `core`, of classes (h, w) over `padded`."""
        meanings = classify(values, self.kind)
        cloud = np.isin(meanings, (Meaning.CLOUD, Meaning.OPAQUE, Meaning.SHADOW))
        ground: Bool = (meanings == Meaning.GROUND) & ~add_margin(cloud)
        return (ground[core.relative_to(padded).slices_yx],)


@dataclass(frozen=True)
class ClearFinder:
    """Where a reference that says nothing of its clouds shows ground, by the model's map.

    Attributes
    ----------
    predictor : of the scene
    slots : the model's channel of each band of the reference
    """

    predictor: NetworkPredictor
    slots: tuple[int, ...]

    @property
    def halo_px(self) -> int:
        """Context a chunk must bring."""
        return self.predictor.context_px + MARGIN_PX

    def __call__(self, image: Array, *, core: Window, padded: Window) -> tuple[Bool]:
        """Clear pixels (H, W) of `core`, of reflectance (B, h, w) over `padded`."""
        usable: Bool = np.asarray(np.isfinite(image).all(axis=0))
        region = core.grow(MARGIN_PX, padded)
        wanted = usable[region.relative_to(padded).slices_yx]
        if not wanted.any():
            return (np.zeros(core.shape_yx, bool),)
        own = NetworkPredictor(
            self.predictor.model,
            self.slots,
            self.predictor.window_px,
            self.predictor.reach_px,
            self.predictor.fill_px,
            self.predictor.extent,
            self.predictor.align_px,
        )
        _, opacity = own.restore(image, usable, wanted, region, padded)
        with np.errstate(invalid="ignore"):
            cloud = add_margin(opacity > self.predictor.model.card.cloud_threshold)
        clear = wanted & ~cloud
        return (clear[core.relative_to(region).slices_yx],)
