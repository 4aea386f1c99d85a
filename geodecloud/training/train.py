r"""Train a SpA GAN on clear imagery under simulated clouds, validated on real pairs.

::

    geodecloud train examples/train_s2_10m.toml --clear DATA/clear --pairs DATA/pairs \
        --out runs/s2-10m

Read from top to bottom: data, networks, one step, validation, checkpoint; at the end the two
thresholds of the card are chosen on data. Everything random
in step ``n`` is drawn from ``(seed, n)``, so a run that is killed and started again draws
what it would have drawn. Checkpoints are safetensors, never pickles.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import time
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from geodecloud.bands import known_wavelength_nm
from geodecloud.errors import OptionError
from geodecloud.models.card import Channel, ModelCard
from geodecloud.models.context import append_planes, scene_percentiles
from geodecloud.models.discriminator import Discriminator
from geodecloud.models.spanet import SPANet
from geodecloud.models.weights import Model, build_network, load_model, save_weights
from geodecloud.training.calibrate import calibrate
from geodecloud.training.chips import Chip, read_chips
from geodecloud.training.clouds import Array, SimulatedPair
from geodecloud.training.dataset import Example, Recipe, SimulatedClouds
from geodecloud.training.display import draw_picture
from geodecloud.training.losses import (
    adversarial_loss,
    attention_loss,
    channel_l1_loss,
    discriminator_loss,
)
from geodecloud.training.metrics import psnr_db
from geodecloud.training.pairs import Pair, read_pairs

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a run, apart from the data."""

    name: str = "s2-10m"
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08")
    pair_bands: tuple[str, ...] = ()  # names of the pairs' bands where the files do not say
    optional_bands: tuple[str, ...] = ()  # of the bands: those a chip or a scene may lack
    drop_share: float = 0.0  # how often some of them are taken away
    composites: tuple[tuple[str, ...], ...] = ()  # other bands, now and then, in their place
    display_share: float = 0.0  # how often an example is an 8-bit picture
    untouched_share: float = 0.0  # how often there is no cloud for certain
    context: tuple[float, ...] = ()  # percentiles of the scene, planes for the network
    init_from: str = ""  # weights to start from: a shipped model or a file
    skip_sensors: tuple[str, ...] = ()  # sensors whose DN is not reflectance
    dn_offsets: tuple[str, ...] = ()  # "FILE=NUMBER", added to its DN before the scale
    texture_pairs: tuple[str, ...] = ()  # nearly overcast pairs that lend cloud texture
    texture_share: float = 0.35  # how often their texture is used
    select_pairs: tuple[str, ...] = ()  # pairs that choose the best step; empty: all
    width: int = 32
    passes: str = "one-step"
    direction_weights: bool = False
    output: str = "blend"
    steps: int = 5000
    batch: int = 8
    crop_px: int = 96
    learning_rate: float = 1e-3  # cosine to 0 after a warm-up of 100 steps
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-5
    channel_weights: tuple[float, ...] = (100.0, 100.0, 100.0, 100.0)  # the paper's lambda
    attention_weight: float = 5.0
    attention_kind: str = "bce"
    adversarial_weight: float = 1.0  # 0 trains without the discriminator
    adversarial_from: int = 0  # step at which the discriminator joins
    ema: float = 0.998
    validate_every: int = 250
    seed: int = 1
    precision: str = "bf16"
    loaders: int = 1  # processes that draw examples; 0 draws them in between
    summary: str = ""
    licence: str = ""
    training: str = ""

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a TOML file; a key that is not an option is an error, not a silence."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise OptionError(f"cannot read the training config {path}: {error}") from error
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise OptionError(
                f"{path}: unknown option {unknown[0]!r}; known: {', '.join(sorted(known))}"
            )
        return cls(**{name: _frozen(value) for name, value in values.items()})

    @property
    def source_bands(self) -> tuple[str, ...]:
        """The bands, and those of the composites."""
        return tuple(dict.fromkeys([*self.bands, *(b for c in self.composites for b in c)]))

    @property
    def recipe(self) -> Recipe:
        """How the examples are drawn."""
        return Recipe(
            bands=self.source_bands,
            composites=(self.bands, *self.composites),
            optional=self.optional_bands,
            drop_share=self.drop_share,
            display_share=self.display_share,
            untouched_share=self.untouched_share,
            texture_share=self.texture_share,
            context=self.context,
            crop_px=self.crop_px,
            seed=self.seed,
        )


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value


def train(config: Config, clear_folder: Path, pairs_folder: Path | None, out: Path) -> ModelCard:
    """Train, validate, and leave ``NAME.safetensors`` with its card in `out`.

    Resumes from ``out/checkpoint.safetensors`` where there is one.

    Parameters
    ----------
    clear_folder : folder with clear imagery, see `geodecloud.training.chips.read_chips`
    pairs_folder : folder with real pairs that choose the best step; None: the last is kept
    out : folder for checkpoint, log (``log.jsonl``) and the finished weights
    """
    out.mkdir(parents=True, exist_ok=True)
    chips = _read_chips(config, clear_folder)
    pairs, textures = _read_pairs(config, pairs_folder)
    selecting = _selecting(config, pairs)
    log.info("%d chips, %d pairs, %d textures", len(chips), len(pairs), len(textures))

    torch.manual_seed(config.seed)
    channels = len(config.bands)
    generator = SPANet(
        channels * (1 + len(config.context)),
        channels,
        width=config.width,
        passes=config.passes,  # type: ignore[arg-type]
        direction_weights=config.direction_weights,
        output=config.output,  # type: ignore[arg-type]
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    discriminator = Discriminator(channels, channels)
    if config.init_from:
        grow(generator, config.bands, load_model(config.init_from))
    average = {k: v.clone() for k, v in generator.state_dict().items()}
    optimizers = [
        torch.optim.AdamW(
            network.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        for network in (generator, discriminator)
    ]
    run = Run(generator, discriminator, average, optimizers, out / "checkpoint.safetensors")
    start, best = run.resume(config)
    card = _card(config, generator)

    began, losses = time.monotonic(), []
    batches = draw_batches(
        SimulatedClouds(chips, textures, config.recipe, config.steps * config.batch), config, start
    )
    for step, (cloudy, clear, attention) in enumerate(batches, start):
        for optimizer, peak in zip(optimizers, (config.learning_rate, 4e-4), strict=True):
            optimizer.param_groups[0]["lr"] = peak * schedule(step, config.steps)
        losses.append(train_step(run, config, cloudy, clear, attention, step))
        for name, value in generator.state_dict().items():
            average[name].lerp_(value, 1 - min(config.ema, (step + 1) / (step + 10)))

        if (step + 1) % config.validate_every and step + 1 != config.steps:
            continue
        means = {k: sum(part[k] for part in losses) / len(losses) for k in losses[0]}
        gain = validate(generator, average, selecting, config.context)
        if not selecting or gain > best:
            best = gain
            run.write_average(card, out / f"{config.name}.safetensors")
        run.write_checkpoint(config, step + 1, best)
        minutes = (time.monotonic() - began) / 60
        record = {"step": step + 1, "minutes": round(minutes, 2), "gain_db": gain, **means}
        with (out / "log.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record) + "\n")
        log.info("%s", record)
        losses = []

    weights = out / f"{config.name}.safetensors"
    best_network = load_model(weights).network
    examples = SimulatedClouds(
        chips, textures, dataclasses.replace(config.recipe, seed=config.seed + 1, crop_px=128), 64
    )
    card = calibrate(best_network, card, selecting, examples)
    return save_weights(best_network, card, weights)


def draw_batches(examples: SimulatedClouds, config: Config, start: int) -> Iterable[Example]:
    """Batches from step `start` on, drawn by a process beside this one."""
    rest = range(start * config.batch, len(examples))
    return DataLoader(Subset(examples, rest), config.batch, num_workers=config.loaders)


def _read_chips(config: Config, folder: Path) -> list[Chip]:
    offsets = {name: float(dn) for name, dn in (text.split("=") for text in config.dn_offsets)}
    optional = set(config.source_bands) - set(config.bands) | set(config.optional_bands)
    return read_chips(folder, config.source_bands, config.skip_sensors, sorted(optional), offsets)


def _read_pairs(config: Config, folder: Path | None) -> tuple[list[Pair], list[Array]]:
    """The real pairs in the model's bands, and cloud texture in all that examples are made of."""
    if folder is None:
        return [], []
    pairs = read_pairs(folder, config.bands, config.pair_bands)
    sources = read_pairs(folder, config.source_bands, config.pair_bands)
    return pairs, [pair.cloudy for pair in sources if pair.name in config.texture_pairs]


def _selecting(config: Config, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that choose the best step; for pictures also drawn as such, and under a veil."""
    chosen = [p for p in pairs if not config.select_pairs or p.name in config.select_pairs]
    if not config.display_share:
        return chosen
    drawn = []
    for index, pair in enumerate(chosen):
        none = np.zeros_like(pair.clear[0])
        for veiled, cloudy in ((False, pair.cloudy), (True, pair.clear)):
            both = SimulatedPair(cloudy, pair.clear, none, none)
            picture = draw_picture(both, np.random.default_rng([config.seed, index]), veiled)
            drawn.append(Pair(pair.name, picture.cloudy, picture.clear))
    return chosen + drawn


def grow(network: SPANet, bands: Sequence[str], start: Model) -> None:
    """Start from trained weights, also from those of a model with other bands.

    Bands both know keep their weights. A new band is not listened to at first, and its ground
    is guessed as that of the known band nearest in wavelength: the network begins as the
    model it comes from.

    Raises
    ------
    OptionError
        If the two networks differ in more than their bands.
    """
    tensors, known = start.network.state_dict(), list(start.card.channel_names)
    wavelengths = np.array([known_wavelength_nm(name) for name in known])
    nearest = [int(np.abs(wavelengths - known_wavelength_nm(band)).argmin()) for band in bands]
    old = tensors["conv_in.weight"]
    # context is not listened to at first
    first = old.new_zeros(len(old), network.in_channels, 3, 3)
    for i, band in enumerate(bands):
        if band in known:
            first[:, i] = old[:, known.index(band)]
    tensors = tensors | {
        "conv_in.weight": first,
        "conv_out.weight": tensors["conv_out.weight"][nearest],
    }
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise OptionError(
            f"init_from: model {start.card.name} is another kind of network: {error}"
        ) from error


def schedule(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: linear warm-up over 100 steps, then cosine."""
    return min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclasses.dataclass
class Run:
    """The moving parts of a run, and how they are written down."""

    generator: SPANet
    discriminator: Discriminator
    average: dict[str, Tensor]
    optimizers: list[torch.optim.AdamW]
    checkpoint: Path

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"average.{k}": v for k, v in self.average.items()}
        networks = (("generator", self.generator), ("discriminator", self.discriminator))
        for (name, network), optimizer in zip(networks, self.optimizers, strict=True):
            tensors |= {f"{name}.{k}": v for k, v in network.state_dict().items()}
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{name}.{index}.{k}": v for k, v in state.items()}
        return {k: v.detach().clone().contiguous() for k, v in tensors.items()}

    def write_checkpoint(self, config: Config, step: int, best: float) -> None:
        """Write everything needed to go on; a kill half-way leaves the previous one."""
        partial = self.checkpoint.with_suffix(".part")
        metadata = {"step": str(step), "best": repr(best), "config": repr(config)}
        save_file(self._tensors(), str(partial), metadata)
        os.replace(partial, self.checkpoint)

    def resume(self, config: Config) -> tuple[int, float]:
        """Load the checkpoint, if there is one; return the next step and the best gain.

        Raises
        ------
        OptionError
            If the checkpoint was made with another config.
        """
        if not self.checkpoint.exists():
            return 0, -math.inf
        with safe_open(str(self.checkpoint), framework="pt") as file:
            metadata = file.metadata()
            if metadata["config"] != repr(config):
                raise OptionError(
                    f"{self.checkpoint} was made with another config; give another --out, or "
                    "remove it to start anew"
                )
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.average.update(_below(stored, "average."))
        networks: tuple[tuple[str, nn.Module], ...] = (
            ("generator", self.generator),
            ("discriminator", self.discriminator),
        )
        for (name, network), optimizer in zip(networks, self.optimizers, strict=True):
            network.load_state_dict(_below(stored, f"{name}."))
            states: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _below(stored, f"adam.{name}.").items():
                index, part = key.split(".")
                states.setdefault(int(index), {})[part] = tensor
            whole = optimizer.state_dict()
            optimizer.load_state_dict({"state": states, "param_groups": whole["param_groups"]})
        log.info("resumed at step %s", metadata["step"])
        return int(metadata["step"]), float(metadata["best"])

    def write_average(self, card: ModelCard, path: Path) -> None:
        """Write the averaged generator as a finished weights file."""
        network = build_network(card)
        network.load_state_dict(self.average)
        save_weights(network, card, path)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def train_step(
    run: Run, config: Config, cloudy: Tensor, clear: Tensor, target: Tensor, step: int
) -> dict[str, float]:
    """Update discriminator, then generator, on one batch; return the parts of the loss."""
    optimizer_g, optimizer_d = run.optimizers
    adversarial = config.adversarial_weight > 0 and step >= config.adversarial_from
    image = cloudy.to(memory_format=torch.channels_last)
    cloudy = image[:, : clear.shape[1]]  # without the planes of the context
    parts: dict[str, Tensor] = {}

    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
        restored, attention = run.generator(image)
        if adversarial:
            real = run.discriminator(cloudy, clear)
            fake = run.discriminator(cloudy, restored.detach())
            parts["discriminator"] = discriminator_loss(real.float(), fake.float())
            optimizer_d.zero_grad(set_to_none=True)
            parts["discriminator"].backward()  # type: ignore[no-untyped-call]
            optimizer_d.step()

        parts["l1"] = channel_l1_loss(restored.float(), clear, config.channel_weights)
        parts["attention"] = attention_loss(attention, target, config.attention_kind)  # type: ignore[arg-type]
        loss = parts["l1"] + config.attention_weight * parts["attention"]
        if adversarial:
            parts["adversarial"] = adversarial_loss(run.discriminator(cloudy, restored).float())
            loss = loss + config.adversarial_weight * parts["adversarial"]
    optimizer_g.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.generator.parameters(), 10.0)
    optimizer_g.step()
    return {name: float(value.detach()) for name, value in parts.items()}


@torch.no_grad()
def validate(
    generator: SPANet,
    average: dict[str, Tensor],
    pairs: Sequence[Pair],
    context: Sequence[float] = (),
) -> float:
    """Mean gain in PSNR (dB) of the averaged generator over the cloudy date of real pairs."""
    if not pairs:
        return 0.0
    live = {k: v.clone() for k, v in generator.state_dict().items()}
    generator.load_state_dict(average)
    generator.eval()
    gains = []
    for pair in pairs:
        image = torch.from_numpy(pair.cloudy)[None]
        if context:
            image = append_planes(image, scene_percentiles(pair.cloudy, None, context))
        restored, _ = generator(image)
        gains.append(psnr_db(restored[0].numpy(), pair.clear) - psnr_db(pair.cloudy, pair.clear))
    generator.train()
    generator.load_state_dict(live)
    return float(np.mean(gains))


def _card(config: Config, generator: SPANet) -> ModelCard:
    return ModelCard(
        name=config.name,
        summary=config.summary,
        architecture={
            "width": config.width,
            "passes": config.passes,
            "direction_weights": config.direction_weights,
            "output": config.output,
        },
        channels=tuple(Channel(b, known_wavelength_nm(b)) for b in config.bands),
        optional=config.optional_bands,
        context=config.context,
        halo_px=generator.reach_px,
        has_cloud_map=config.output == "blend",
        training=config.training,
        licence=config.licence,
    )
