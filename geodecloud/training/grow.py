"""Starting from trained weights, also from those of a model with other bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from geodecloud.errors import OptionError
from geodecloud.models.spanet import SPANet
from geodecloud.models.weights import Model
from geodecloud.scene.bands import known_wavelength_nm


def grow(network: SPANet, bands: Sequence[str], start: Model) -> None:
    """Give a fresh network the weights of a trained one.

    Bands both know keep their weights. A new band begins with input weights of zero and the output
    weights of the known band nearest in wavelength, so the network begins as the model it comes from.
    The output may be of another kind: a published network, whose output is the image, can be the start
    of one that blends.

    A network on blocks keeps its bands: which plane of a block belongs to which is not told apart here.

    Raises
    ------
    OptionError
        If the two networks differ in more than their bands and their output.
    """
    if not isinstance(start.network, SPANet):
        raise OptionError(f"init_from: model {start.card.name} has no weights to start from")
    tensors, known = start.network.state_dict(), list(start.card.channel_names)
    passes = [each.attention.pass1.passes for each in (start.network, network)]
    if passes[0] != passes[1]:
        raise OptionError(
            f"init_from: the passes of model {start.card.name} are {passes[0]}, this one's {passes[1]}"
        )
    if start.card.blocks > 1 or network.architecture.blocks > 1:
        if list(bands) != known:
            raise OptionError(
                f"init_from: model {start.card.name} works on blocks of {start.card.blocks} px and reads "
                f"{' '.join(known)}, and the config {' '.join(bands)} on {network.architecture.blocks} px; "
                "on blocks both must be the same"
            )
        _take(network, tensors, start)
        return
    wavelengths = np.array([known_wavelength_nm(name) for name in known])
    nearest = [int(np.abs(wavelengths - known_wavelength_nm(band)).argmin()) for band in bands]
    old = tensors["conv_in.weight"]
    first = old.new_zeros(len(old), len(bands), 3, 3)
    for i, band in enumerate(bands):
        if band in known:
            first[:, i] = old[:, known.index(band)]
    tensors = tensors | {
        "conv_in.weight": first,
        "conv_out.weight": tensors["conv_out.weight"][nearest],
    }
    _take(network, tensors, start)


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
