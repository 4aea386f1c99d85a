"""The passes of a network over whole images: one, or a second one that knows what the first saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from geodecloud.restore.composite import add_margin
from geodecloud.restore.ground_around import CLEAR_OPACITY, prior_of

Seen = tuple[Tensor, Tensor]


def run_passes(network: Any, images: Tensor) -> list[Seen]:
    """Restored images and attention of each pass, the last one last.

    Parameters
    ----------
    network : a `geodecloud.models.spanet.SPANet`, bare or as Fabric has set it up
    images : (N, C, H, W)
    """
    passes, architecture = [network(images)], network.architecture
    if architecture.prior:
        passes.append(network(images, priors(images, passes[0][1], architecture.blocks)))
    return passes


def priors(images: Tensor, attention: Tensor, blocks: int) -> Tensor:
    """What the clear parts of each image, by the attention of a first pass, suggest under its clouds."""
    opacity = attention.detach().float().cpu().numpy()[:, 0]
    found = [
        prior_of(image, ~add_margin(one > CLEAR_OPACITY), blocks)
        for image, one in zip(images.detach().float().cpu().numpy(), opacity, strict=True)
    ]
    return torch.from_numpy(np.stack(found)).to(images)
