"""A network on blocks of pixels: what goes into its body, and what its last convolution says.

A body that reads blocks of ``b x b`` px as one place, their pixels side by side as planes, sees ``b`` times as
far at a ``b * b``-th of the work. Ground straight out of such planes shows the blocks where no detail of the
scene guides it, so it is put together of four parts::

    g = up(m + p * (f - m) + d) + up(k) * (x - up(m)) + s

with the image ``x`` and its block means ``m``, the prior ``f`` (ground of the surroundings, see
`geodecloud.restore.ground_around`) and what the network says of each block: a share ``p`` of the prior, a change
``d``, a gain ``k`` of the scene's own detail (more than 1 under thin cloud, 0 under opaque), and a small
correction ``s`` of each pixel. ``up`` interpolates between the middles of the blocks. The attention is that of
the body brought up, with a correction of its logit for each pixel.

References
----------
Blocks as planes: Shi et al., arXiv 1609.05158 (sub-pixel convolution); FFDNet, Zhang et al., arXiv 1710.04026.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from geodecloud.models.architecture import UNIT_GAIN


class Said(NamedTuple):
    """What the last convolution says of each block, (N, planes, h, w) each."""

    change: Tensor
    gain: Tensor
    share: Tensor
    pixels: Tensor
    attention: Tensor


def fit_to_blocks(image: Tensor, side: int) -> Tensor:
    """The image, repeated at its lower and right edge until whole blocks cover it."""
    down, right = (-image.shape[axis] % side for axis in (2, 3))
    return F.pad(image, (0, right, 0, down), mode="replicate") if down or right else image


def bring_up(planes: Tensor, side: int) -> Tensor:
    """Interpolate between the middles of blocks of `side` px; beyond the outermost all stays the same."""
    return F.interpolate(planes, scale_factor=side, mode="bilinear", align_corners=False)


def block_ground(image: Tensor, prior: Tensor | None, said: Said, side: int) -> Tensor:
    """The ground ``g`` (N, C, H, W), see the top of this module.

    Parameters
    ----------
    image : (N, C, H, W), whole blocks
    prior : (N, C + 1 or more, h, w), reflectance of each block and how far it is not known; None: there is none
    """
    mean = F.avg_pool2d(image, side)
    smooth = mean + said.change
    if prior is not None:
        channels = image.shape[1]
        values, unknown = prior[:, :channels], prior[:, channels : channels + 1]
        smooth = smooth + torch.sigmoid(said.share) * (1 - unknown) * (values - mean)
    detail = image - bring_up(mean, side)
    gain = bring_up(F.softplus(said.gain + UNIT_GAIN), side)
    return bring_up(smooth, side) + gain * detail + F.pixel_shuffle(said.pixels, side)
