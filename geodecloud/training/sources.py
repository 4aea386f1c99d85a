"""The data of a run, read as the config says: what it learns from, and what chooses its best step."""

from __future__ import annotations

import dataclasses
import logging
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

log = logging.getLogger(__name__)

#: Simulated examples that choose the opaque threshold, and their side.
_CHOOSING, _CHOOSING_PX = 64, 128
#: Seed of the selecting pairs drawn as pictures: the same for all runs, so that they can be compared.
_DRAWN = 1


@dataclass(frozen=True)
class Sources:
    """The data of a run.

    Attributes
    ----------
    examples : what is trained on, as many as the run draws
    selecting : real pairs that choose the best step and the mask's threshold; may be empty
    choosing : simulated examples of another seed that choose the opaque threshold; None: there are none
    true_opacity : whether the attention learns the opacity of clouds; else it learns the paper's mask,
        how much the two images of a pair differ
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
        these if `pairs` is None or the same folder, those that ``select_pairs`` names
    pairs : folder of pairs that choose the best step, lend cloud texture, and are learnt beside
        simulated clouds, as the config says

    Raises
    ------
    OptionError
        If there is nothing to train on, or two things, or the config names a pair that is not there.
    """
    if (clear is None) == (train_pairs is None):
        raise OptionError(
            "give one thing to train on: clear imagery (--clear FOLDER) or pairs (--train-pairs FOLDER)"
        )
    if train_pairs is not None:
        return _pairs_to_learn(config, train_pairs, pairs)
    assert clear is not None
    bands = config.source_bands
    lacking = (set(bands) - set(config.bands)) | set(config.optional_bands)
    chips = read_chips(clear, bands, config.skip_sensors, sorted(lacking), config.dn_offsets)
    chosen = _read_pairs(config, pairs) if pairs else []
    learnt = _named("learn_pairs", config.learn_pairs, chosen)
    textures = _read_textures(config, pairs) if pairs else []
    if not config.composites:  # the bands of pairs and chips are the same
        chips += [Chip(pair.clear, pair.name) for pair in learnt]
    other = dataclasses.replace(config, seed=config.seed + 1, crop_px=_CHOOSING_PX)
    simulated = SimulatedClouds(chips, textures, config, config.examples)
    examples: Dataset[Example] = simulated
    if learnt:
        real = PairCrops(learnt, config.crop_px, config.seed, config.examples, dates_differ=True)
        examples = Mixture(simulated, real, config.learn_share)
    choosing = SimulatedClouds(chips, textures, other, _CHOOSING)
    return Sources(examples, _selecting(config, chosen), choosing)


def read_left_out(config: Config, pairs: Path) -> tuple[list[Pair], list[Array]]:
    """What a table of expected errors is measured on: the pairs that choose, and the textures of clouds."""
    return _selecting(config, _read_pairs(config, pairs)), _read_textures(config, pairs)


def learnt_grounds(chips: Sequence[Chip], bands: Sequence[str], side: int) -> list[Pair]:
    """Of each place that is trained on, one clear piece of at least so many px a side: a table of expected errors takes some
    of its shape from them.
    """
    places: dict[str, Pair] = {}
    for chip in chips:
        if min(chip.image.shape[1:]) >= side:
            places.setdefault(chip.place, Pair(chip.place, chip.image, chip.image, tuple(bands)))
    return list(places.values())


def read_learnt(config: Config, clear: Path, side: int) -> list[Pair]:
    """`learnt_grounds` of a folder of clear imagery, in the bands of the model."""
    bands = config.bands
    chips = read_chips(clear, bands, config.skip_sensors, config.optional_bands, config.dn_offsets)
    return learnt_grounds(chips, bands, side)


def _read_textures(config: Config, pairs: Path) -> list[Array]:
    """Cloudy dates that lend their texture, in all the bands that examples are made of."""
    if not config.texture_pairs:
        return []
    lenders = read_pairs(pairs, config.source_bands, config.pair_bands)
    return [pair.cloudy for pair in _named("texture_pairs", config.texture_pairs, lenders)]


def _pairs_to_learn(config: Config, train_pairs: Path, pairs: Path | None) -> Sources:
    """Pairs to train on as they are; those that choose the best step are not among them."""
    own = _read_pairs(config, train_pairs)
    learnt = own
    if pairs is not None and pairs.resolve() != train_pairs.resolve():
        selecting = _selecting(config, _read_pairs(config, pairs))
    else:
        selecting = _named("select_pairs", config.select_pairs, own)
        learnt = [pair for pair in own if pair.name not in config.select_pairs]
    if not learnt:
        raise OptionError(
            f"select_pairs holds out all {len(own)} pairs of {train_pairs}, and nothing is left to train on"
        )
    crops = PairCrops(learnt, config.crop_px, config.seed, config.examples)
    known = all(pair.attention is not None for pair in learnt)
    if pairs is not None and not selecting:
        log.warning(
            "all of %s is trained on, so nothing chooses the best step and the last one is kept; name "
            "pairs to hold out in select_pairs",
            pairs,
        )
    return Sources(crops, selecting, true_opacity=known)


def _named(option: str, names: Sequence[str], pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs an option names.

    Raises
    ------
    OptionError
        If there is no such pair.
    """
    there = {pair.name for pair in pairs}
    if missing := sorted(set(names) - there):
        raise OptionError(
            f"{option} names {missing[0]!r}, and the pairs are {', '.join(sorted(there)) or 'none'}"
        )
    return [pair for pair in pairs if pair.name in names]


def _read_pairs(config: Config, folder: Path) -> list[Pair]:
    """Pairs in the config's bands; pictures as the network is to see them."""
    light = config.tone.light
    return [
        dataclasses.replace(pair, cloudy=light(pair.cloudy), clear=light(pair.clear))
        if pair.is_picture
        else pair
        for pair in read_pairs(folder, config.bands, config.pair_bands)
    ]


def _selecting(config: Config, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that choose the best step; a model of pictures also gets them drawn as pictures."""
    chosen = [pair for pair in pairs if pair.name not in config.learn_pairs]
    if config.select_pairs and pairs:
        chosen = _named("select_pairs", config.select_pairs, pairs)
    if not config.display_share:
        return chosen
    drawn = []
    for index, pair in enumerate(chosen):
        none = np.zeros_like(pair.clear[0])
        both = SimulatedPair(pair.cloudy, pair.clear, none, none)
        rng = np.random.default_rng([_DRAWN, index])
        picture = draw_picture(both, rng, tone=config.tone)
        drawn.append(Pair(pair.name, picture.cloudy, picture.clear))
    return chosen + drawn
