"""Starting from trained weights, also from those of a model with other bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from geodecloud.errors import OptionError
from geodecloud.models.card import ModelCard
from geodecloud.models.spanet import SPANet
from geodecloud.models.weights import Model
from geodecloud.scene.bands import known_wavelength_nm


def grow(network: SPANet, bands: Sequence[str], start: Model) -> None:
    """Give a fresh network the weights of a trained one.

    Bands both know keep their weights. A new band begins with input weights of zero and the output
    weights of the known band nearest in wavelength, so the network begins as the model it comes from.
    The output may be of another kind: a published network, whose output is the image, can be the start
    of one that blends.

    Raises
    ------
    OptionError
        If the two networks differ in more than their bands and their output, such as in their blocks.
    """
    if not isinstance(start.network, SPANet):
        raise OptionError(f"init_from: model {start.card.name} has no weights to start from")
    tensors, known = start.network.state_dict(), list(start.card.channel_names)
    passes = [each.attention.pass1.passes for each in (start.network, network)]
    if passes[0] != passes[1]:
        raise OptionError(
            f"init_from: the passes of model {start.card.name} are {passes[0]}, this one's {passes[1]}"
        )
    wavelengths = np.array([known_wavelength_nm(name) for name in known])
    nearest = [int(np.abs(wavelengths - known_wavelength_nm(band)).argmin()) for band in bands]
    blocks = start.card.blocks
    heads = start.network.architecture.heads(len(known)) if blocks > 1 else (len(known),)
    tensors = tensors | {
        "conv_in.weight": _reading(tensors["conv_in.weight"], bands, known, start.card, network),
        "conv_out.weight": _saying(tensors["conv_out.weight"], heads, nearest, len(known)),
    }
    _take(network, tensors, start)


def _reading(
    weight: Tensor, bands: Sequence[str], known: Sequence[str], card: ModelCard, network: SPANet
) -> Tensor:
    """Weights of the first convolution for other bands: those of the image's planes, then those of the prior's.

    A network that reads shade, grown from one that does not, takes no notice of it at first.
    """
    blocks = card.blocks
    planes = len(known) * blocks**2
    image = weight[:, :planes].reshape(len(weight), len(known), blocks**2, *weight.shape[2:])
    grown = [_placed(image, bands, known).flatten(1, 2)]
    if planes < weight.shape[1]:
        ground, rest = weight[:, planes : planes + len(known)], weight[:, planes + len(known) :]
        grown += [_placed(ground, bands, known), rest]
        if network.architecture.shade and not card.reads_shade:
            grown.append(torch.zeros_like(rest[:, :1]))
    return torch.cat(grown, dim=1)


def _placed(weight: Tensor, bands: Sequence[str], known: Sequence[str]) -> Tensor:
    """Weights (N, known, ...) in the order of `bands`, zero for those that are new."""
    placed = weight.new_zeros(len(weight), len(bands), *weight.shape[2:])
    for i, band in enumerate(bands):
        if band in known:
            placed[:, i] = weight[:, known.index(band)]
    return placed


def _saying(weight: Tensor, heads: Sequence[int], nearest: Sequence[int], known: int) -> Tensor:
    """Weights of the last convolution for other bands, each as the nearest known one; the attention has no bands."""
    of_bands, attention = heads[:4], heads[4:]
    parts = torch.split(weight, list(heads))
    grown = [
        part.reshape(known, planes // known, *part.shape[1:])[nearest].flatten(0, 1)
        for part, planes in zip(parts, of_bands, strict=False)
        if planes
    ]
    return torch.cat([*grown, *parts[len(of_bands) :][: len(attention)]])


def _take(network: SPANet, tensors: Mapping[str, Tensor], start: Model) -> None:
    """Load the weights.

    Raises
    ------
    OptionError
        If they are those of another kind of network.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise OptionError(
            f"init_from: model {start.card.name} is another kind of network: {error}"
        ) from error
