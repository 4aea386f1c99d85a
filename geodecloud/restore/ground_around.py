"""The ground that a scene's clear parts suggest under its clouds: a prior for the network's second pass.

Clear pixels are averaged in blocks, and the means carried to where nothing is clear, from near by where
something is and else from further away (`geodecloud.restore.references.pyramid`). What comes out is
smooth, has the colours of the surroundings, and says of each block from how far it was brought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, grey_dilation

from geodecloud.models.card import PRIOR_PX
from geodecloud.restore.composite import hiding_share
from geodecloud.restore.references.pyramid import (
    Carried,
    carry,
    double,
    halve,
    over_pixels,
)
from geodecloud.restore.relight import Shadows
from geodecloud.windows.tiler import Window

Array = NDArray[np.float32]
Bool = NDArray[np.bool_]

#: A pixel that the first pass sees with less opacity than this, away from the rims of clouds, is clear.
CLEAR_OPACITY = 0.1
#: Width of a cloud's rim, and how far from a pixel it depends whether it lies in one.
_RIM_PX = 4
RIM_REACH_PX = _RIM_PX + 3
#: From so much of it unknown on, ground that is carried from afar is trusted less: what is the same over km is rare.
_FAR = 0.5
#: Standard deviation of ground in reflectance where nothing of a scene is clear: about that of the clear imagery.
_USUALLY_UNEVEN = 0.05
#: So many clear blocks of a scene say as much of its far ground as what is usual anywhere.
_FEW_BLOCKS = 100
#: How far a block is not known if its ground comes from blocks 1, 2, 4 ... times as wide.
_UNKNOWN = np.minimum(np.arange(32, dtype=np.float32) / 8, 1)


def block_sums(image: Array, clear: Bool, side: int = PRIOR_PX) -> tuple[Array, Array]:
    """Sums of the clear pixels of each block, as shares of a block, and how much of it is clear.

    Parameters
    ----------
    image : (C, H, W); pixels that are not clear may be anything
    clear : (H, W)
    side : of a block in px

    Returns
    -------
    total : (C, h, w) float32; the last blocks may reach beyond the image
    share : (h, w) float32 in [0, 1]
    """
    # plane by plane: many bands at once would take several times the memory of the image
    zero = np.float32(0)
    total = [block_means(np.where(clear, plane, zero), side) for plane in image]
    return np.stack(total), block_means(clear.astype(np.float32), side)


def block_means(plane: Array, side: int = PRIOR_PX) -> Array:
    """Means (h, w) of the blocks of a plane (H, W), as if zeros lay beyond it."""
    down, right = (-length % side for length in plane.shape)
    whole = np.pad(plane, ((0, down), (0, right))) if down or right else plane
    height, width = whole.shape
    blocks = whole.reshape(height // side, side, width // side, side)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def carry_ground(total: Array, share: Array) -> Array:
    """The prior of all blocks of a scene, of what `block_sums` says of it.

    Returns
    -------
    (C + 1, h, w) float32: reflectance, and in [0, 1] how far it is not known; 0 and 1 where nothing
    of the scene is clear
    """
    known = float(share.sum(dtype=np.float64))
    if not known:
        return np.concatenate([np.zeros_like(total), np.ones_like(share[None])])
    levels = (max(share.shape) - 1).bit_length() + 1
    mean = total.sum(axis=(1, 2), dtype=np.float64) / known
    top = np.zeros((1, *share.shape), np.float32)
    for _ in range(levels):
        top = halve(top)
    above = Carried(
        np.broadcast_to(mean.astype(np.float32)[:, None, None], (len(mean), *top.shape[1:])),
        np.ones_like(top),
    )
    carried = carry(total, share, _UNKNOWN[:levels, None], above)
    return np.concatenate([carried.values, carried.open_share])


def finer(prior: Array, times: int) -> Array:
    """The prior of blocks a `times`-th as wide, 1 or a power of 2."""
    while times > 1:
        prior, times = double(prior), times // 2
    return prior


def _over_rims(share: Array) -> Array:
    """The share (H, W) widened over the rims of clouds, where a network sees too little of them."""
    if not share.any():
        return share
    y, x = np.mgrid[-_RIM_PX : _RIM_PX + 1, -_RIM_PX : _RIM_PX + 1]
    wide = grey_dilation(share, footprint=np.hypot(y, x) <= _RIM_PX)
    # running sums would leave crumbs
    return np.maximum(share, gaussian_filter(wide, 1, radius=RIM_REACH_PX - _RIM_PX))


def _trust(unknown: Array) -> Array:
    """How far ground that is brought from elsewhere is gone by, in [0, 1]."""
    return np.asarray(np.clip((1 - unknown) / (1 - _FAR), 0, 1), np.float32)


@dataclass(frozen=True)
class GroundAround:
    """The prior of a whole scene, in blocks of `PRIOR_PX` from its corner.

    Attributes
    ----------
    planes : (C + 1, h, w) float32, see `carry_ground`
    far : (C,) reflectance that stands in for ground far from all that is clear; None: a network's guess does
    shade : (h, w) in [0, 1], where clouds may throw their shadow; None: the network does not read it
    uneven : (h, w), standard deviation in reflectance of the clear ground that the planes were made of, root mean square over
        the bands; None: nobody asks
    shadows : those that were found; None: none
    """

    planes: Array
    far: Array | None = None
    shade: Array | None = None
    uneven: Array | None = None
    shadows: Shadows | None = None

    @classmethod
    def of(
        cls,
        total: Array,
        share: Array,
        usual: Sequence[float] = (),
        squares: Array | None = None,
    ) -> GroundAround:
        """The prior of what `block_sums` says of a scene.

        Parameters
        ----------
        usual : reflectance of each band, of ground anywhere; the fewer blocks of the scene are clear, the more of it
            stands for ground far from them, and the less of their mean. Empty: nobody knows
        squares : (h, w), as `total`, of the mean over the bands of the squared reflectance; None: nobody asks how even it is
        """
        far = None
        if usual:
            sums = total.sum(axis=(1, 2), dtype=np.float64) + _FEW_BLOCKS * np.asarray(usual)
            far = (sums / (share.sum(dtype=np.float64) + _FEW_BLOCKS)).astype(np.float32)
        if squares is None:
            return cls(carry_ground(total, share), far)
        if not share.any():
            usually = np.full(share.shape, _USUALLY_UNEVEN, np.float32)
            return cls(carry_ground(total, share), far, uneven=usually)
        *ground, square, unknown = carry_ground(np.concatenate([total, squares[None]]), share)
        variance = square - np.mean(np.square(ground), axis=0)
        uneven = np.sqrt(np.maximum(variance, 0)).astype(np.float32)
        return cls(np.stack([*ground, unknown]), far, uneven=uneven)

    def pixels(self, window: Window) -> tuple[Array, Array]:
        """Reflectance (C, H, W) of the pixels of any window, and in [0, 1] how far it is not known (H, W)."""
        planes = over_pixels(self.planes, window, PRIOR_PX)
        return planes[:-1], planes[-1]

    def unevenness(self, window: Window) -> Array:
        """How uneven the ground around is (H, W), see `uneven`; 0 where nobody asked."""
        if self.uneven is None:
            return np.zeros(window.shape_yx, np.float32)
        return over_pixels(self.uneven[None], window, PRIOR_PX)[0]

    def stand_in(self, window: Window) -> tuple[Array, Array]:
        """What stands for hidden ground in any window, and how far that is not known: `pixels`, fading into `far`."""
        ground, unknown = self.pixels(window)
        if self.far is None:
            return ground, unknown
        far = self.far[:, None, None]
        return far + _trust(unknown) * (ground - far), unknown

    def fill(
        self,
        restored: Array,
        opacity: Array,
        opaque: float,
        window: Window,
        hides: Bool | None = None,
    ) -> Array:
        """Where cloud hides the ground, what is around it in place of what a network makes up.

        The nearer the opacity comes to hiding the ground, the more of it (`hiding_share`), over the cloud's rim, too.
        Far from all that is clear one colour stands in its place, `far`, which says little and pretends nothing: a network
        has no more to go by, and draws blotches. What is said of a pixel depends on the opacity at most `RIM_REACH_PX` away.

        Parameters
        ----------
        restored, opacity : (C, H, W) and (H, W) over `window`, of the network; NaN where it saw nothing
        opaque : opacity above which the ground counts as not visible
        hides : where something else says that cloud hides the ground
        """
        share = np.nan_to_num(hiding_share(opacity, opaque))
        if hides is not None:
            share[hides] = 1
        share = _over_rims(share)
        if not share.any():
            return restored
        ground, unknown = self.stand_in(window)
        if self.far is None:
            share *= _trust(unknown)
        return np.asarray(restored + share * (ground - restored), np.float32)

    def prior(self, window: Window, blocks: int) -> Array:
        """The prior (C + 1, h, w), with shade (C + 2, h, w), of a window that begins at a multiple of `PRIOR_PX`, in blocks of `blocks` px."""
        top, left = window.row_off // PRIOR_PX, window.col_off // PRIOR_PX
        rows, cols = (-(-length // PRIOR_PX) for length in window.shape_yx)
        # with a block more on each side, which what is interpolated reads, and beyond the scene the last one
        y = np.arange(top - 1, top + rows + 1).clip(0, self.planes.shape[1] - 1)
        x = np.arange(left - 1, left + cols + 1).clip(0, self.planes.shape[2] - 1)
        times = PRIOR_PX // blocks
        known = self.planes[:, y[:, None], x]
        if self.shade is not None:
            known = np.concatenate([known, self.shade[None, y[:, None], x]])
        planes = finer(known, times)[:, times:, times:]
        height, width = (-(-length // blocks) for length in window.shape_yx)
        return np.ascontiguousarray(planes[:, :height, :width])
