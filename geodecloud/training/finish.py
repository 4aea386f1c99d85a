"""From the config to the card, and from trained weights to a model: means, thresholds, veils."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from geodecloud.errors import OptionError
from geodecloud.models.architecture import Architecture
from geodecloud.models.card import Channel, ModelCard
from geodecloud.models.spanet import SPANet
from geodecloud.models.veil import PREFIX
from geodecloud.models.weights import load_model, read_weights, save_weights
from geodecloud.scene.bands import known_wavelength_nm
from geodecloud.training.calibrate import calibrate
from geodecloud.training.checkpoint import kept_model
from geodecloud.training.config import Config
from geodecloud.training.expected_error import SCENE_PX, measure_errors
from geodecloud.training.grow import grow
from geodecloud.training.pairs import Pair
from geodecloud.training.sources import Sources, learnt_grounds
from geodecloud.training.usual_ground import measure_usual_ground
from geodecloud.training.veil import learn_veils

#: The weights a run keeps, before anything is made of them.
BEST = "best.safetensors"


def new_network(config: Config) -> SPANet:
    """Make the generator the config asks for, with fresh weights."""
    count = len(config.bands)
    return SPANet(count, count, **config.architecture)


def check_finish(config: Config, sources: Sources, out: Path) -> None:
    """Check before a run that what comes after it can be done.

    Raises
    ------
    OptionError
        If veils are to be taken from a model that lifts none or learnt without clear imagery, or the
        mean is to be taken with a model of another kind.
    """
    if config.veil_from:
        _taken_veil(config, out)
    if config.mean_with:
        _other_network(config, out)
    if config.veil_pictures and sources.choosing is None:
        raise OptionError("veil_pictures needs clear imagery to draw pictures of: --clear FOLDER")


def begin_card(config: Config, sources: Sources) -> ModelCard:
    """Make the card of a run whose thresholds have not been chosen yet."""
    # how much two dates differ is a mask only where pairs not learnt choose its threshold
    is_map = sources.true_opacity or bool(sources.selecting)
    return ModelCard(
        name=config.name,
        summary=config.summary,
        architecture=config.architecture,
        channels=tuple(Channel(b, known_wavelength_nm(b)) for b in config.bands),
        optional=config.optional_bands,
        picture_gamma=config.picture_gamma,
        picture_white=config.picture_white,
        halo_px=Architecture(**config.architecture).reach_px,
        has_cloud_map=config.output == "blend" and is_map,
        training=config.training,
        licence=config.licence,
    )


def finish(config: Config, sources: Sources, card: ModelCard, out: Path) -> ModelCard:
    """Make NAME.safetensors of what a run left in `out`; return its card, with thresholds and hash.

    The weights become the mean the config asks for, the usual ground is measured, the thresholds are chosen and expected errors
    measured on data, and the
    perceptrons that find veils over pictures are learnt or taken over where the config wants them.
    """
    network = load_model(out / BEST).network
    if config.mean_of_steps:
        files = [out / f"step_{step}.safetensors" for step in config.mean_of_steps]
        network.load_state_dict(mean_weights([load_model(file).network for file in files]))
    if config.mean_with:
        network.load_state_dict(mean_weights([network, _other_network(config, out)]))
    pairs = [*sources.selecting, *_with_few_bands(config, sources.selecting)]
    if sources.choosing is not None and card.reads_prior and not config.draws_pictures:
        card = dataclasses.replace(card, usual_ground=measure_usual_ground(sources.choosing))
    card = calibrate(network, card, pairs, sources.choosing)
    if not sources.true_opacity:
        # how much two dates differ cannot tell hidden ground: all that is restored counts as invented
        card = dataclasses.replace(card, opaque_threshold=card.cloud_threshold)
    if sources.choosing is not None and not config.draws_pictures and card.has_cloud_map:
        grounds = [pair for pair in sources.selecting if not pair.is_picture]
        about = sources.choosing.textures, config.subsets, config.error_scenes
        learnt = learnt_grounds(sources.choosing.chips, config.source_bands, SCENE_PX)
        card = measure_errors(network, card, grounds, *about, learnt)
    veil = None
    if config.veil_from:
        veil = _taken_veil(config, out)
    elif sources.choosing is not None and config.veil_pictures:
        veil = learn_veils(sources.choosing, config.veil_pictures, config.seed)
    return save_weights(network, card, out / f"{config.name}.safetensors", veil)


def _with_few_bands(config: Config, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs as scenes with the first of the config's subsets of bands: the thresholds are theirs, too."""
    if not config.subsets:
        return []
    left = np.isin(config.bands, config.subsets[0])[:, None, None]
    return [
        dataclasses.replace(pair, cloudy=pair.cloudy * left, clear=pair.clear * left)
        for pair in pairs
    ]


def mean_weights(networks: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The mean of the weights of networks with one ancestor (Wortsman et al. 2022, model soups)."""
    parts = [network.state_dict() for network in networks]
    return {name: torch.stack([part[name] for part in parts]).mean(dim=0) for name in parts[0]}


def _other_network(config: Config, out: Path) -> SPANet:
    """The network whose weights are half of the mean."""
    other, start = new_network(config), load_model(kept_model(config, out, "mean_with"))
    grow(other, config.bands, start)
    theirs = start.card.architecture.get("output", "image")
    if theirs != config.output:
        raise OptionError(
            f"mean_with: the output of {config.mean_with} is {theirs!r}, this one's {config.output!r}; "
            "their mean would be neither"
        )
    return other


def _taken_veil(config: Config, out: Path) -> dict[str, Tensor]:
    _, tensors = read_weights(kept_model(config, out, "veil_from"))
    found = {name: part for name, part in tensors.items() if name.startswith(PREFIX)}
    if not found:
        raise OptionError(
            f'veil_from: model {config.veil_from} lifts no veil; give one that does, such as "rgb", or '
            "veil_pictures = 32000 to learn it"
        )
    return found
