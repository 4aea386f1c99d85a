"""What a model may know of the whole scene: a few percentiles of each channel.

A network that sees 36 px around a pixel cannot tell a veil over everything from bright ground.
Percentiles of the scene, computed once and given to every window as constant planes, tell it, and
leave a tiled result equal to that of the whole scene. Training, evaluation and pipeline take
them from here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]


def scene_percentiles(
    sample: Array, usable: NDArray[np.bool_] | None, percentiles: Sequence[float]
) -> Array:
    """Percentiles of each channel over the usable pixels of a sample of the scene.

    Parameters
    ----------
    sample : (C, h, w) reflectance
    usable : (h, w); None: all
    percentiles : K numbers, 0 to 100

    Returns
    -------
    (K * C,) float32, all channels of the first percentile, then of the next; zeros where
    nothing is usable
    """
    pixels = sample.reshape(len(sample), -1)
    if usable is not None:
        pixels = pixels[:, usable.ravel()]
    if pixels.shape[1] == 0:
        return np.zeros(len(percentiles) * len(sample), np.float32)
    found: Array = np.percentile(pixels, percentiles, axis=1).astype(np.float32).ravel()
    return found


def append_planes(batch: Tensor, context: Array) -> Tensor:
    """Put the percentiles behind the channels of each patch, as constant planes.

    Parameters
    ----------
    batch : (N, C, H, W)
    context : (K * C,) as `scene_percentiles` gives them

    Returns
    -------
    (N, C + K * C, H, W)
    """
    planes = torch.from_numpy(context).to(batch)[None, :, None, None]
    return torch.cat([batch, planes.expand(len(batch), -1, *batch.shape[2:])], dim=1)
