"""Where a date shows ground: by a classification, or by what a network sees in coarse pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geodecloud.masks.classes import Meaning
from geodecloud.models.card import COARSE_PX
from geodecloud.restore.composite import Bool, add_margin
from geodecloud.restore.ground_around import block_sums
from geodecloud.restore.network import NetworkPredictor
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]


def ground_of(meanings: NDArray[np.uint8], *, core: Window, padded: Window) -> tuple[Bool]:
    """Where a classification says that ground is seen, away from the rims of clouds.

    Parameters
    ----------
    meanings : (h, w) over `padded`, of `geodecloud.masks.classes.Meaning`

    Returns
    -------
    (H, W) bool over `core`
    """
    cloud = np.isin(meanings, (Meaning.CLOUD, Meaning.OPAQUE, Meaning.SHADOW))
    ground: Bool = (meanings == Meaning.GROUND) & ~add_margin(cloud)
    return (ground[core.relative_to(padded).slices_yx],)


@dataclass(frozen=True)
class CloudFinder:
    """Finds clouds with a network in pixels twice as wide: it sees twice as far so, at a quarter of the work.

    Attributes
    ----------
    network : its extent is that of the scene in coarse pixels
    picks : which bands of an image it reads, in the order of the network's slots
    """

    network: NetworkPredictor
    picks: tuple[int, ...]

    @classmethod
    def of(cls, network: NetworkPredictor, bands: Sequence[str]) -> CloudFinder:
        """A finder for images of these bands, of which it reads those that its network knows."""
        known = network.model.card.channel_names
        picks = tuple(i for i, band in enumerate(bands) if band in known)
        slots = tuple(known.index(bands[i]) for i in picks)
        return cls(replace(network, slots=slots), picks)

    @property
    def halo_px(self) -> int:
        """Context it needs."""
        return COARSE_PX * (self.network.context_px + 1)

    def opacity(
        self, strips: Iterator[tuple[Array, Bool]], region: Window, padded: Window
    ) -> Array:
        """Opacity of `region` (H, W), told of coarse pixels as a whole; 1 where it is no number, 0 without data.

        Parameters
        ----------
        strips : reflectance (C, h, w) and where it may be read (h, w), of `padded` from top to bottom, each a
            multiple of coarse pixels high but the last
        region, padded : scene pixels; `padded` begins where coarse pixels do
        """
        picks = list(self.picks)
        sums = [block_sums(image[picks], usable, COARSE_PX) for image, usable in strips]
        total, share = (np.concatenate(parts, axis=-2) for parts in zip(*sums, strict=True))
        there = share > 0
        seen = np.divide(total, share, out=np.zeros_like(total), where=there)
        asked, given = coarse(region), coarse(padded)
        wanted = there[asked.relative_to(given).slices_yx]
        if not wanted.any():
            return np.zeros(region.shape_yx, np.float32)
        _, found = self.network.restore(seen, there, wanted, asked, given)
        found = np.where(wanted, np.nan_to_num(found, nan=1), 0)  # what is no number is not clear
        covered = Window(*(COARSE_PX * n for n in asked))
        fine = found.repeat(COARSE_PX, 0).repeat(COARSE_PX, 1)
        return np.asarray(fine[region.relative_to(covered).slices_yx], np.float32)


def coarse(window: Window) -> Window:
    """The coarse pixels that a window touches, counted from the scene's corner."""
    left, top = window.col_off // COARSE_PX, window.row_off // COARSE_PX
    right = -(-(window.col_off + window.width) // COARSE_PX)
    bottom = -(-(window.row_off + window.height) // COARSE_PX)
    return Window(left, top, right - left, bottom - top)


def whole_coarse(length_px: int) -> int:
    """A length, or a little more, that is a multiple of coarse pixels."""
    return -(-length_px // COARSE_PX) * COARSE_PX
