"""The two thresholds of a card, chosen on data after training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from geodecloud.models.card import ModelCard
from geodecloud.restore.composite import add_margin, feather
from geodecloud.training.clouds import Array
from geodecloud.training.dataset import SimulatedClouds
from geodecloud.training.metrics import gain_db, psnr_db
from geodecloud.training.pairs import Pair
from geodecloud.training.passes import restore_image

CANDIDATES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
#: Losses in dB that at most one pair in twenty, and that none may have.
_LOSS_DB, _GREAT_LOSS_DB = 0.3, 1.0
#: A clear image counts as harmed below this PSNR against itself.
_HARMED_DB = 40.0
#: Mean gain in dB given up for a higher threshold: more ground stays as it was observed.
_TOLERANCE_DB = 0.03
#: Opacity from which ground does not show: a twentieth of its contrast is below the noise.
_HIDDEN = 0.95


def calibrate(
    network: nn.Module,
    card: ModelCard,
    pairs: Sequence[Pair],
    examples: SimulatedClouds | None,
) -> ModelCard:
    """Choose where cloud begins and where the ground is hidden.

    ``cloud_threshold`` first does no harm: candidates are kept that have the fewest pairs losing
    more than 1 dB, of these those with the fewest losing more than 0.3 dB (one in twenty is as good
    as none), where the clear image itself, sent through, counts as a pair that loses if it comes
    out below 40 dB. Of what is left it is the highest whose mean gain, composite included, is
    within 0.03 dB of the best. ``opaque_threshold`` is exceeded by 90 % of the simulated pixels whose
    true opacity is at least 0.95, where ground no longer shows: it is chosen to call too much ground
    invented rather than too little.

    Parameters
    ----------
    pairs : those that also choose the best step; empty leaves ``cloud_threshold`` as it is. A band of zeros
        is absent
    examples : of another seed than the training's; None leaves ``opaque_threshold`` as it is

    Returns
    -------
    The card with both thresholds.
    """
    network.eval()
    thresholds: dict[str, Any] = {}
    seen = None if examples is None else _opacity_over_hidden_ground(network, examples)
    if seen is not None and seen.size:
        # nothing exceeds 1
        thresholds["opaque_threshold"] = min(round(float(np.quantile(seen, 0.1)), 2), 0.99)
    if pairs:
        opaque = thresholds.get("opaque_threshold", card.opaque_threshold)
        thresholds["cloud_threshold"] = _choose(network, pairs, opaque, card.usual_ground)
    return dataclasses.replace(card, **thresholds)


def _choose(
    network: nn.Module, pairs: Sequence[Pair], opaque: float, usual: tuple[float, ...]
) -> float:
    """The candidate that does no harm and gains most, see `calibrate`."""
    gains, harmed = [], []
    for pair in pairs:
        valid, there = pair.valid, pair.clear.any(axis=(1, 2))
        cloudy, clear = pair.cloudy[there], pair.clear[there]
        cleared = [image[there] for image in _composites(network, pair.cloudy, opaque, usual)]
        gains.append([gain_db(image, cloudy, clear, valid) for image in cleared])
        # the clear image, sent through, is to come out as it is
        psnrs = [
            psnr_db(image[there][:, valid], clear[:, valid])
            for image in _composites(network, pair.clear, opaque, usual)
        ]
        harmed.append([psnr < _HARMED_DB for psnr in psnrs])
    great = np.less(gains, -_GREAT_LOSS_DB).sum(axis=0) + np.sum(harmed, axis=0)
    some = np.maximum(np.less(gains, -_LOSS_DB).sum(axis=0), len(pairs) // 20)
    kept = great == great.min()
    kept &= some == some[kept].min()
    means = np.mean(gains, axis=0)
    kept &= means >= means[kept].max() - _TOLERANCE_DB
    return max(t for t, keep in zip(CANDIDATES, kept, strict=True) if keep)


def _composites(
    network: nn.Module, image: Array, opaque: float, usual: tuple[float, ...]
) -> list[Array]:
    """What becomes of an image, for each candidate threshold."""
    restored, opacity = restore_image(network, image, opaque, usual)
    found = []
    for threshold in CANDIDATES:
        mask = add_margin(opacity > threshold)
        found.append(image + feather(mask, keep=~mask) * (restored - image))
    return found


def _opacity_over_hidden_ground(network: nn.Module, examples: SimulatedClouds) -> Array:
    """The map's values where simulated cloud hides the ground."""
    found = []
    for index in range(len(examples)):
        pair = examples.draw(index)
        opacity = restore_image(network, pair.cloudy, 1.0, shade=pair.shade)[1]
        found.append(opacity[pair.opacity >= _HIDDEN])
    return np.concatenate(found)
