"""The passes of a network over whole images: one, or a second one that knows what the first saw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from geodecloud.models.blocks import fit_to_blocks
from geodecloud.models.card import COARSE_PX
from geodecloud.restore.composite import add_margin
from geodecloud.restore.ground_around import (
    CLEAR_OPACITY,
    GroundAround,
    block_sums,
)
from geodecloud.windows.tiler import Window

Seen = tuple[Tensor, Tensor]


def run_passes(network: Any, images: Tensor, shade: Tensor | None = None) -> list[Seen]:
    """Restored images and attention of each pass, the last one last; of two, the first is `coarsen`ed.

    Parameters
    ----------
    network : a `geodecloud.models.spanet.SPANet`, bare or as Fabric has set it up
    images : (N, C, H, W)
    shade : (N, 1, h, w), where clouds may throw their shadow, for a network that reads it; None: nothing is known
    """
    architecture = network.architecture
    if not architecture.prior:
        return [network(images)]
    first = network(coarsen(images))
    window = Window(0, 0, images.shape[3], images.shape[2])
    around = look_at(images, first[1])
    if architecture.shade:
        known = (
            [None] * len(around) if shade is None else shade[:, 0].detach().float().cpu().numpy()
        )
        around = [replace(a, shade=_or_none(s, a)) for a, s in zip(around, known, strict=True)]
    priors = [each.prior(window, architecture.blocks) for each in around]
    return [first, network(images, torch.from_numpy(np.stack(priors)).to(images))]


def _or_none(shade: NDArray[np.float32] | None, around: GroundAround) -> NDArray[np.float32]:
    return np.zeros(around.planes.shape[1:], np.float32) if shade is None else shade


def coarsen(planes: Tensor) -> Tensor:
    """Means (N, C, h, w) of the pixels that the first pass takes for one."""
    return F.avg_pool2d(fit_to_blocks(planes, COARSE_PX), COARSE_PX)


def look_at(images: Tensor, attention: Tensor, usual: tuple[float, ...] = ()) -> list[GroundAround]:
    """What the clear parts of each image, by the attention of a first pass, suggest under its clouds."""
    height, width = images.shape[2:]
    opacity = attention.detach().float().cpu().numpy()[:, 0]
    opacity = opacity.repeat(COARSE_PX, 1).repeat(COARSE_PX, 2)[:, :height, :width]
    return [
        GroundAround.of(*block_sums(image, ~add_margin(one > CLEAR_OPACITY)), usual)
        for image, one in zip(images.detach().float().cpu().numpy(), opacity, strict=True)
    ]


def restore_image(
    network: Any,
    image: NDArray[np.float32],
    opaque: float,
    usual: tuple[float, ...] = (),
    shade: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Restored image (C, H, W) and opacity (H, W), as the pipeline has them.

    Parameters
    ----------
    opaque : opacity above which the ground counts as not visible
    usual : ground anywhere, see `GroundAround.of`
    shade : see `run_passes`
    """
    batch = torch.from_numpy(image)[None]
    with torch.inference_mode():
        passes = run_passes(
            network, batch, None if shade is None else torch.from_numpy(shade)[None, None]
        )
    restored, opacity = passes[-1][0][0].numpy(), passes[-1][1][0, 0].numpy()
    if len(passes) > 1:
        (around,) = look_at(batch, passes[0][1], usual)
        height, width = opacity.shape
        restored = around.fill(restored, opacity, opaque, Window(0, 0, width, height))
    return restored, opacity
