r"""Train a SpA GAN on clear imagery under simulated clouds, or on pairs; validated on real pairs.

::

    geodecloud train examples/train_s2_10m.toml --clear DATA/clear --pairs DATA/pairs \
        --out runs/s2-10m

Read from top to bottom: data, networks, one step, validation, checkpoint; what makes a model of the
weights afterwards is `geodecloud.training.finish`. Everything random in step ``n`` is drawn from
``(seed, n)``, so a run that is killed and started again draws what it would have drawn. Lightning
Fabric brings batches, networks and gradients to the devices, one or several.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from geodecloud.errors import OptionError
from geodecloud.models.card import ModelCard
from geodecloud.models.discriminator import Discriminator
from geodecloud.models.weights import load_model, save_weights
from geodecloud.raster.targets import check_file, make_folder
from geodecloud.training.checkpoint import CHECKPOINT, Run, finished_card, keep_models
from geodecloud.training.config import Config
from geodecloud.training.dataset import Example
from geodecloud.training.finish import BEST, begin_card, check_finish, finish, new_network
from geodecloud.training.grow import grow
from geodecloud.training.losses import (
    UNKNOWN,
    adversarial_loss,
    attention_loss,
    channel_l1_loss,
    discriminator_loss,
)
from geodecloud.training.metrics import gain_db
from geodecloud.training.pairs import Pair
from geodecloud.training.panels import sample_sheet
from geodecloud.training.passes import coarsen, run_passes
from geodecloud.training.sources import Sources

log = logging.getLogger(__name__)

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
#: Peak learning rate of the discriminator, as published.
_DISCRIMINATOR_RATE = 4e-4
#: AdamW of both networks, and how much of the averaged weights (EMA) stays at each step.
_BETAS, _WEIGHT_DECAY, _EMA = (0.5, 0.999), 1e-5, 0.998


def train(
    config: Config,
    sources: Sources,
    out: Path,
    accelerator: str = "auto",
    devices: int = 1,
) -> ModelCard | None:
    """Train, validate, and leave ``NAME.safetensors`` with its card in `out`.

    Resumes from ``out/checkpoint.safetensors`` where there is one. A run that is done stays as it is; if
    its ``NAME.safetensors`` is taken away, it is made anew from the weights kept.

    Parameters
    ----------
    sources : see `geodecloud.training.sources.read_sources`
    out : folder for checkpoint, log (``log.jsonl``), curves and the finished weights
    accelerator, devices : as Lightning Fabric has them: "auto", "cpu", "cuda", "mps"; how many

    Returns
    -------
    The card; None in the processes of all devices but the first, which ends the run.
    """
    if card := finished_card(config, out):
        log.info("this run is done: %s is there", f"{config.name}.safetensors")
        return card
    check_finish(config, sources, out)
    make_folder(out)
    for name in (CHECKPOINT, BEST, "log.jsonl", f"{config.name}.safetensors"):
        check_file(out / name)
    fabric = make_fabric(config, accelerator, devices)
    fabric.launch()
    run = start_run(config, fabric, out)
    first, best = run.resume(config)
    if fabric.is_global_zero:
        keep_models(config, out, anew=first == 0)
    card = begin_card(config, sources)
    # steps that a killed run has shown and not kept are taken off the curves
    curves = TensorBoardLogger(out, "curves", version="", purge_step=first + 1)

    began, losses = time.monotonic(), []
    for step, batch in enumerate(draw_batches(sources.examples, config, fabric, first), first):
        rates = (config.learning_rate, _DISCRIMINATOR_RATE)
        for optimizer, peak in zip(run.optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = peak * schedule(step, config.steps)
        losses.append(train_step(run, config, batch, step))
        _average(run, step)

        if (step + 1) % config.validate_every and step + 1 != config.steps:
            continue
        means = {k: sum(part[k] for part in losses) / len(losses) for k in losses[0]}
        gain, restored = validate(run, sources.selecting)
        kept = config.keep_last or not sources.selecting or gain > best
        best = max(best, gain)
        minutes = round((time.monotonic() - began) / 60, 2)
        record = {"step": step + 1, "minutes": minutes, "gain_db": gain, **means}
        if fabric.is_global_zero:
            if kept:
                save_weights(run.average, card, out / BEST)
            if step + 1 in config.mean_of_steps:
                save_weights(run.average, card, out / f"step_{step + 1}.safetensors")
            run.write_checkpoint(config, step + 1, best)
            with (out / "log.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(record) + "\n")
            _write_curves(curves, record, sources.selecting, restored)
        log.info("%s", record)
        losses = []
        fabric.barrier()
    if not fabric.is_global_zero:
        return None
    return finish(config, sources, card, out)


def make_fabric(config: Config, accelerator: str = "auto", devices: int = 1) -> Fabric:
    """Fabric for the config's precision."""
    precision: Any = _PRECISIONS[config.precision]
    return Fabric(accelerator=accelerator, devices=devices, precision=precision)


def start_run(config: Config, fabric: Fabric, out: Path) -> Run:
    """Fresh or grown networks and their optimizers, on the devices."""
    torch.manual_seed(config.seed)
    generator = new_network(config)
    discriminator = Discriminator(len(config.bands), len(config.bands))
    if config.init_from:
        grow(generator, config.bands, load_model(config.init_from))
    networks, optimizers = [], []
    for network in (generator, discriminator):
        optimizer = torch.optim.AdamW(
            network.parameters(), config.learning_rate, _BETAS, weight_decay=_WEIGHT_DECAY
        )
        network.to(memory_format=_layout(config))  # type: ignore[call-overload]
        placed, optimizer = fabric.setup(network, optimizer)
        networks.append(placed)
        optimizers.append(optimizer)
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    checkpoint = out / CHECKPOINT
    return Run(fabric, networks[0], networks[1], average, tuple(optimizers), checkpoint)


def _layout(config: Config) -> torch.memory_format:
    """How features lie in memory: half precision wants channels last, and in float32 it costs a tenth."""
    return torch.contiguous_format if config.precision == "fp32" else torch.channels_last


def draw_batches(
    examples: Dataset[Example], config: Config, fabric: Fabric, start: int
) -> Iterator[Example]:
    """The batch of each step from `start` on, drawn by processes beside this one."""
    # examples are numbered without end; each of several devices draws as many as one alone
    each = config.batch * fabric.world_size
    rest = range(start * each, config.steps * each)
    loader = DataLoader(
        Subset(examples, rest), config.batch, num_workers=config.loaders, drop_last=True
    )
    placed: Any = fabric.setup_dataloaders(loader)
    yield from placed


def schedule(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: linear warm-up over 100 steps, then cosine."""
    return min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))


def train_step(run: Run, config: Config, batch: Example, step: int) -> dict[str, float]:
    """Update both networks on one batch; return the parts of the loss.

    Raises
    ------
    OptionError
        If the loss is not finite.
    """
    adversarial = config.adversarial_weight > 0 and step >= config.adversarial_from
    for optimizer in run.optimizers:
        optimizer.zero_grad(set_to_none=True)
    restored, parts = _generator_pass(run, config, batch, adversarial)
    if adversarial:
        cloudy, clear = batch[:2]
        parts["discriminator"] = _discriminator_pass(run, cloudy, clear, restored.detach())
    losses = {name: float(value.detach()) for name, value in parts.items()}
    if not all(map(math.isfinite, losses.values())):
        raise OptionError(
            f"the loss is not finite at step {step} ({losses}); lower learning_rate, or set "
            'precision = "fp32"'
        )
    run.fabric.clip_gradients(
        run.generator, run.optimizers[0], max_norm=10.0, error_if_nonfinite=False
    )
    _update(run, run.optimizers if adversarial else run.optimizers[:1])
    return losses


def mean(parts: Iterable[Tensor]) -> Tensor:
    """The mean of scalars."""
    return torch.stack(list(parts)).mean()


def _update(run: Run, optimizers: Sequence[Any]) -> None:
    """One step of each optimizer."""
    scaler = getattr(run.fabric.strategy.precision, "scaler", None)
    if scaler is None:
        for optimizer in optimizers:
            optimizer.step()
        return
    # fp16: all gradients were scaled by one number, and Fabric would change it after each optimizer
    for optimizer in optimizers:
        scaler.step(optimizer.optimizer)
    scaler.update()


def _generator_pass(
    run: Run, config: Config, batch: Example, adversarial: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradients of ``L_cGAN + L_L1 + L_Att`` for the generator alone."""
    cloudy, clear, target, shade = batch
    weights = config.channel_weights or (100.0,) * clear.shape[1]
    images = cloudy.to(memory_format=_layout(config))
    passes = run_passes(run.generator, images, shade)
    restored = passes[-1][0]
    truths = [(clear, target)]
    if len(passes) > 1:
        unknown = coarsen((target < 0).float()) > 0
        truths.insert(0, (coarsen(clear), torch.where(unknown, UNKNOWN, coarsen(target))))
    parts = {
        "l1": mean(
            channel_l1_loss(image, clear, weights, target >= 0)
            for (image, _), (clear, target) in zip(passes, truths, strict=True)
        ),
        "attention": mean(
            attention_loss(attention, target, config.attention_kind)
            for (_, attention), (_, target) in zip(passes, truths, strict=True)
        ),
    }
    loss = parts["l1"] + config.attention_weight * parts["attention"]
    if adversarial:
        # the bare network: its own gradients are not wanted here
        with run.fabric.autocast():
            logits = run.discriminator.module(cloudy, restored)
        parts["adversarial"] = adversarial_loss(logits.float())
        loss = loss + config.adversarial_weight * parts["adversarial"]
    run.fabric.backward(loss, inputs=list(run.generator.parameters()))
    return restored, parts


def _discriminator_pass(run: Run, cloudy: Tensor, clear: Tensor, restored: Tensor) -> Tensor:
    """Gradients of ``-L_cGAN`` for the discriminator."""
    real, fake = run.discriminator(cloudy, clear), run.discriminator(cloudy, restored)
    loss = discriminator_loss(real.float(), fake.float())
    run.fabric.backward(loss)
    return loss


@torch.no_grad()
def _average(run: Run, step: int) -> None:
    """Move the averaged weights towards the generator's, at first in larger steps."""
    share = 1 - min(_EMA, (step + 1) / (step + 10))
    for mean, value in zip(run.average.parameters(), run.generator.parameters(), strict=True):
        mean.lerp_(value, share)


@torch.no_grad()
def validate(run: Run, pairs: Sequence[Pair]) -> tuple[float, list[np.ndarray[Any, Any]]]:
    """Mean gain in PSNR (dB) of the averaged generator on real pairs, and the restored images."""
    gains, images = [], []
    precision = run.fabric.strategy.precision  # as Fabric does around the networks it has set up
    for pair in pairs:
        cloudy = run.fabric.to_device(torch.from_numpy(pair.cloudy)[None])
        with precision.forward_context():
            image = precision.convert_input(cloudy)
            restored, _ = run_passes(run.average, image)[-1]
        images.append(restored[0].float().cpu().numpy())
        gains.append(gain_db(images[-1], pair.cloudy, pair.clear, pair.valid))
    return (float(np.mean(gains)) if gains else 0.0), images


def _write_curves(
    curves: TensorBoardLogger,
    record: dict[str, float],
    pairs: Sequence[Pair],
    restored: Sequence[np.ndarray[Any, Any]],
) -> None:
    """The numbers of a record and pictures of the first pairs; see them with ``tensorboard``."""
    step = int(record["step"])
    curves.log_metrics({name: value for name, value in record.items() if name != "step"}, step)
    if (sheet := sample_sheet(pairs, restored)) is not None:
        curves.experiment.add_image("cloudy, restored, clear", sheet, step)
    curves.save()
