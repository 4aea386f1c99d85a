"""The three parts of the SpA GAN loss, ``L = L_cGAN + L_L1 + L_Att``.

References
----------
arXiv 2009.13015, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Kind = Literal["mse", "bce"]

#: Attention target of a pixel that teaches nothing: nobody knows whether it is cloud.
UNKNOWN = -1.0


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """``-E log D(x, y) - E log(1 - D(x, G(x)))`` on logits, mean over the patch map.

    ``-log sigmoid(z) = softplus(-z)`` keeps it finite for any logit.
    """
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    """``-E log D(x, G(x))``: the non-saturating form the generator minimises."""
    return F.softplus(-fake_logits).mean()


def channel_l1_loss(
    restored: Tensor, clear: Tensor, channel_weights: Sequence[float], known: Tensor | None = None
) -> Tensor:
    """``1 / (CHW) * sum_c lambda_c * |clear_c - restored_c|``, mean over the batch.

    A channel that is 0 in all of an image is an absent band: it does not count, and C is smaller by it.

    Parameters
    ----------
    restored, clear : Tensor (N, C, H, W)
    channel_weights : C numbers, the paper's lambda (published: 100 for every channel)
    known : bool Tensor (N, 1, H, W), the pixels that count; None: all
    """
    if len(channel_weights) != clear.shape[1]:
        raise ValueError(f"{len(channel_weights)} channel weights for {clear.shape[1]} channels")
    weights = clear.new_tensor(channel_weights).view(1, -1, 1, 1)
    there = (clear != 0).any(dim=-1).any(dim=-1)[..., None, None]
    share = there.sum(dim=1, keepdim=True) / clear.shape[1]
    distance = weights * (clear - restored).abs() * there / share.clamp(min=1 / clear.shape[1])
    if known is None:
        return distance.mean()
    return (distance * known).sum() / (known.sum() * clear.shape[1]).clamp(min=1)


def attention_loss(attention: Tensor, target: Tensor, kind: Kind) -> Tensor:
    """Distance of the attention map from the cloud mask ``M``, mean over the pixels where it is known.

    Parameters
    ----------
    attention, target : Tensor (N, 1, H, W) in [0, 1]; the target may be `UNKNOWN`
    kind : "mse" is the paper's ``||A - M||_2^2``; "bce" (cross-entropy) has the same
        minimum, and learns as fast from a map that is nearly 0 or 1 and wrong as from any other. One
        that is 0 or 1, rounded, teaches neither: in bf16 it is 1 from a logit of about 6 on.
    """
    known = target >= 0
    target = torch.where(known, target, 0).float()
    if kind == "mse":
        distance = F.mse_loss(attention, target, reduction="none")
    else:
        # cross-entropy is not autocast-safe in half precision, and log needs the margin
        attention = attention.float().clamp(1e-6, 1 - 1e-6)
        distance = F.binary_cross_entropy(attention, target, reduction="none")
    return (distance * known).sum() / known.sum().clamp(min=1)


def cloud_mask(cloudy: Tensor, clear: Tensor) -> Tensor:
    """The paper's mask ``M = |I_in - I_gt|``, for pairs whose true opacity is unknown.

    Reduced over channels by the maximum (a cloud need only show in one band) and
    clipped to [0, 1]; the value range of the inputs is the scale, so that the mask of a
    pair does not depend on what else is in the batch.

    Parameters
    ----------
    cloudy, clear : Tensor (N, C, H, W)

    Returns
    -------
    Tensor (N, 1, H, W) in [0, 1]
    """
    return torch.amax((cloudy - clear).abs(), dim=1, keepdim=True).clamp(0, 1)
