"""What a run learns from and what chooses its best step, read by the config's word."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from geodecloud.errors import OptionError
from geodecloud.training.chips import Chip, read_chips
from geodecloud.training.clouds import Array, SimulatedPair
from geodecloud.training.config import Config
from geodecloud.training.dataset import Example, Mixture, PairCrops, SimulatedClouds
from geodecloud.training.display import draw_picture
from geodecloud.training.pairs import Pair, read_pairs

#: Simulated examples that choose the thresholds, and their side.
_CHOOSING, _CHOOSING_PX = 64, 128


@dataclass(frozen=True)
class Sources:
    """The data of a run.

    Attributes
    ----------
    examples : what is trained on, as many as the run draws
    selecting : real pairs that choose the best step and the mask's threshold; may be empty
    choosing : simulated examples of another seed, for the opaque threshold; None: there are none
    true_opacity : whether the attention learns the opacity of clouds; else the paper's mask, how much
        the two images of a pair differ
    """

    examples: Dataset[Example]
    selecting: list[Pair]
    choosing: SimulatedClouds | None = None
    true_opacity: bool = True


def read_sources(
    config: Config, clear: Path | None, train_pairs: Path | None, pairs: Path | None
) -> Sources:
    """Read the data of a run.

    Parameters
    ----------
    clear : folder of clear imagery, trained on under simulated clouds
    train_pairs : folder of pairs, trained on as they are, but for those that choose the best step: of
        these if `pairs` is None, those that ``select_pairs`` names
    pairs : folder of pairs that choose the best step, lend cloud texture, and are learnt beside
        simulated clouds, as the config says

    Raises
    ------
    OptionError
        If there is nothing to train on, or two things.
    """
    if (clear is None) == (train_pairs is None):
        raise OptionError(
            "give one thing to train on: clear imagery (--clear FOLDER) or pairs (--train-pairs FOLDER)"
        )
    chosen = _read_pairs(config, pairs) if pairs else []
    selecting = _selecting(config, chosen)
    if train_pairs is not None:
        own = _read_pairs(config, train_pairs)
        learnt = own
        if pairs is None:
            selecting = [pair for pair in own if pair.name in config.select_pairs]
            learnt = [pair for pair in own if pair.name not in config.select_pairs]
        crops = PairCrops(learnt, config.crop_px, config.seed, config.examples)
        simulated = all(p.opacity is not None and p.shadow is not None for p in learnt)
        return Sources(crops, selecting, true_opacity=simulated)
    assert clear is not None
    chips, textures = _read_chips(config, clear), _read_textures(config, pairs)
    learnt = _learnt(config, chosen)
    if not config.composites:  # the bands of pairs and chips are the same
        chips += [Chip(pair.clear, pair.name) for pair in learnt]
    other = dataclasses.replace(config.recipe, seed=config.seed + 1, crop_px=_CHOOSING_PX)
    examples = SimulatedClouds(chips, textures, config.recipe, config.examples)
    choosing = SimulatedClouds(chips, textures, other, _CHOOSING)
    if not learnt:
        return Sources(examples, selecting, choosing)
    real = PairCrops(learnt, config.crop_px, config.seed, config.examples, dates_differ=True)
    return Sources(Mixture(examples, real, config.learn_share), selecting, choosing)


def _read_pairs(config: Config, folder: Path) -> list[Pair]:
    """Pairs in the config's bands; pictures as the network is to see them."""
    pairs, light = read_pairs(folder, config.bands, config.pair_bands), config.tone.light
    return [
        dataclasses.replace(pair, cloudy=light(pair.cloudy), clear=light(pair.clear))
        if pair.dtype == "uint8"
        else pair
        for pair in pairs
    ]


def _learnt(config: Config, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that are trained on beside simulated clouds."""
    names = {pair.name for pair in pairs}
    if missing := sorted(set(config.learn_pairs) - names):
        raise OptionError(
            f"learn_pairs names {missing[0]!r}, and --pairs holds "
            f"{', '.join(sorted(names)) or 'nothing'}"
        )
    return [pair for pair in pairs if pair.name in config.learn_pairs]


def _read_chips(config: Config, folder: Path) -> list[Chip]:
    offsets = {name: float(dn) for name, dn in (text.split("=") for text in config.dn_offsets)}
    optional = set(config.source_bands) - set(config.bands) | set(config.optional_bands)
    return read_chips(folder, config.source_bands, config.skip_sensors, sorted(optional), offsets)


def _read_textures(config: Config, folder: Path | None) -> list[Array]:
    """Cloud texture in all the bands that examples are made of."""
    if folder is None or not config.texture_pairs:
        return []
    pairs = read_pairs(folder, config.source_bands, config.pair_bands)
    return [pair.cloudy for pair in pairs if pair.name in config.texture_pairs]


def _selecting(config: Config, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that choose the best step; for pictures also drawn as such."""
    wanted = config.select_pairs or {pair.name for pair in pairs} - set(config.learn_pairs)
    chosen = [pair for pair in pairs if pair.name in wanted]
    if not config.display_share:
        return chosen
    drawn = []
    for index, pair in enumerate(chosen):
        none = np.zeros_like(pair.clear[0])
        both = SimulatedPair(pair.cloudy, pair.clear, none, none)
        rng = np.random.default_rng([config.seed, index])
        picture = draw_picture(both, rng, tone=config.tone)
        drawn.append(Pair(pair.name, picture.cloudy, picture.clear))
    return chosen + drawn
