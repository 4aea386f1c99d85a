"""The two thresholds of a card, chosen on data after training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from geodecloud.composite import add_margin, feather
from geodecloud.models.card import ModelCard
from geodecloud.training.clouds import Array
from geodecloud.training.dataset import SimulatedClouds
from geodecloud.training.metrics import psnr_db
from geodecloud.training.pairs import Pair

CANDIDATES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
#: Mean gain in dB given up for a higher threshold: more ground stays as it was observed.
_TOLERANCE_DB = 0.1
#: Opacity from which ground does not show: a twentieth of its contrast is below the noise.
_HIDDEN = 0.95


def calibrate(
    network: nn.Module,
    card: ModelCard,
    pairs: Sequence[Pair],
    examples: SimulatedClouds | None,
) -> ModelCard:
    """Choose where cloud begins and where the ground is hidden.

    ``cloud_threshold`` is the highest candidate whose mean gain over the real pairs, composite
    included, is within 0.1 dB of the best. ``opaque_threshold`` is exceeded by 90 % of the
    simulated pixels whose true opacity is at least 0.95, where ground no longer shows: it is
    chosen to call too much ground invented rather than too little.

    Parameters
    ----------
    pairs : those that also choose the best step; empty leaves ``cloud_threshold`` as it is
    examples : of another seed than the training's; None leaves ``opaque_threshold`` as it is

    Returns
    -------
    The card with both thresholds.
    """
    network.eval()
    thresholds: dict[str, Any] = {}
    if pairs:
        gains = np.mean([_gains(network, pair) for pair in pairs], axis=0)
        good = [
            t
            for t, gain in zip(CANDIDATES, gains, strict=True)
            if gain >= gains.max() - _TOLERANCE_DB
        ]
        thresholds["cloud_threshold"] = max(good)
    seen = None if examples is None else _opacity_over_hidden_ground(network, examples)
    if seen is not None and seen.size:
        thresholds["opaque_threshold"] = round(float(np.quantile(seen, 0.1)), 2)
    return dataclasses.replace(card, **thresholds)


def _predict(network: nn.Module, image: Array) -> tuple[Array, Array]:
    with torch.inference_mode():
        restored, attention = network(torch.from_numpy(image)[None])
    return restored[0].numpy(), attention[0, 0].numpy()


def _gains(network: nn.Module, pair: Pair) -> list[float]:
    """Gain in dB of one pair for each candidate threshold."""
    restored, opacity = _predict(network, pair.cloudy)
    before = psnr_db(pair.cloudy, pair.clear)
    gains = []
    for threshold in CANDIDATES:
        mask = add_margin(opacity > threshold)
        composite = pair.cloudy + feather(mask, keep=~mask) * (restored - pair.cloudy)
        gains.append(psnr_db(composite, pair.clear) - before)
    return gains


def _opacity_over_hidden_ground(network: nn.Module, examples: SimulatedClouds) -> Array:
    """The map's values where simulated cloud hides the ground."""
    found = []
    for index in range(len(examples)):
        pair = examples.draw(index)
        found.append(_predict(network, pair.cloudy)[1][pair.opacity >= _HIDDEN])
    return np.concatenate(found)
