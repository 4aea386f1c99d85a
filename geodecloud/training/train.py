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

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from geodecloud.errors import OptionError, SceneError
from geodecloud.models.card import ModelCard
from geodecloud.models.discriminator import Discriminator
from geodecloud.models.weights import load_model
from geodecloud.raster.targets import check_file, make_folder
from geodecloud.training.checkpoint import CHECKPOINT, Run, finished_card, models_taken_over
from geodecloud.training.config import Config
from geodecloud.training.curves import Curves
from geodecloud.training.dataset import Example
from geodecloud.training.finish import BEST, begin_card, check_finish, finish, new_network
from geodecloud.training.grow import grow
from geodecloud.training.losses import (
    adversarial_loss,
    attention_loss,
    channel_l1_loss,
    discriminator_loss,
)
from geodecloud.training.metrics import gain_db
from geodecloud.training.pairs import Pair
from geodecloud.training.sources import Sources

log = logging.getLogger(__name__)

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
#: Peak learning rate of the discriminator, as published.
_DISCRIMINATOR_RATE = 4e-4
#: File in a run's folder with a line for each validation.
LOG = "log.jsonl"


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
    check_finish(config, sources)
    make_folder(out)
    for name in (CHECKPOINT, BEST, LOG, f"{config.name}.safetensors"):
        check_file(out / name)
    fabric = make_fabric(config, accelerator, devices)
    fabric.launch()
    run = start_run(config, fabric, out)
    first, best = run.resume(config)
    card = begin_card(config, sources)

    began, losses = time.monotonic(), []
    batches = draw_batches(sources.examples, config, fabric, first)
    with Curves(out, first, fabric.is_global_zero) as curves:
        for step, micros in enumerate(batches, first):
            for optimizer, peak in zip(
                run.optimizers, (config.learning_rate, _DISCRIMINATOR_RATE), strict=True
            ):
                optimizer.param_groups[0]["lr"] = peak * schedule(step, config.steps)
            losses.append(train_step(run, config, micros, step))
            for name, value in run.generator.state_dict().items():
                run.average[name].lerp_(value, 1 - min(config.ema, (step + 1) / (step + 10)))

            if (step + 1) % config.validate_every and step + 1 != config.steps:
                continue
            means = {k: sum(part[k] for part in losses) / len(losses) for k in losses[0]}
            gain, restored = validate(run.generator, run.average, sources.selecting)
            kept = config.keep_last or not sources.selecting or gain > best
            if fabric.is_global_zero and kept:
                run.write_average(card, out / BEST)
            if fabric.is_global_zero and step + 1 in config.mean_of_steps:
                run.write_average(card, out / f"step_{step + 1}.safetensors")
            best = max(best, gain)
            minutes = round((time.monotonic() - began) / 60, 2)
            record = {"step": step + 1, "minutes": minutes, "gain_db": gain, **means}
            if fabric.is_global_zero:
                run.write_checkpoint(config, step + 1, best)
                with (out / LOG).open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(record) + "\n")
                curves.write(record, sources.selecting, restored)
            log.info("%s", record)
            losses = []
            fabric.barrier()
    if not fabric.is_global_zero:
        return None
    run.check_models(config)
    card = finish(config, sources, card, out)
    run.write_checkpoint(config, config.steps, best, finished=card.sha256)
    return card


def make_fabric(config: Config, accelerator: str = "auto", devices: int = 1) -> Fabric:
    """Fabric for the config's precision.

    Raises
    ------
    OptionError
        If the precision is unknown.
    """
    if config.precision not in _PRECISIONS:
        raise OptionError(f"precision {config.precision!r} is unknown; use fp32, bf16 or fp16")
    precision: Any = _PRECISIONS[config.precision]
    return Fabric(accelerator=accelerator, devices=devices, precision=precision)


def start_run(config: Config, fabric: Fabric, out: Path) -> Run:
    """Fresh or grown networks and their optimizers, on the devices."""
    torch.manual_seed(config.seed)
    generator = new_network(config)
    discriminator = Discriminator(len(config.bands), len(config.bands))
    if config.init_from:
        grow(generator, config.bands, load_model(config.init_from))
    networks = []
    for network in (generator, discriminator):
        optimizer = torch.optim.AdamW(
            network.parameters(),
            config.learning_rate,
            config.betas,
            weight_decay=config.weight_decay,
        )
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        networks.append(fabric.setup(network, optimizer))
    (generator, first), (discriminator, second) = networks
    average = {k: v.detach().clone() for k, v in generator.state_dict().items()}
    models = models_taken_over(config)
    return Run(fabric, generator, discriminator, average, (first, second), out / CHECKPOINT, models)


def draw_batches(
    examples: Dataset[Example], config: Config, fabric: Fabric, start: int
) -> Iterator[list[Example]]:
    """The batches of each step from `start` on, drawn by processes beside this one."""
    # examples are numbered without end; each of several devices draws as many as one alone
    each = config.accumulate * config.batch * fabric.world_size
    rest = range(start * each, config.steps * each)
    loader = DataLoader(
        Subset(examples, rest), config.batch, num_workers=config.loaders, drop_last=True
    )
    placed: Any = fabric.setup_dataloaders(loader)
    batches: Iterator[Example] = iter(placed)
    for first in batches:
        yield [first, *(next(batches) for _ in range(config.accumulate - 1))]


def schedule(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: linear warm-up over 100 steps, then cosine."""
    return min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))


def train_step(run: Run, config: Config, micros: Sequence[Example], step: int) -> dict[str, float]:
    """Update both networks on the batches of one step; return the parts of the loss.

    Raises
    ------
    SceneError, OptionError
        If a batch cannot be trained on, or the loss is not finite.
    """
    adversarial = config.adversarial_weight > 0 and step >= config.adversarial_from
    totals: dict[str, float] = {}
    for optimizer in run.optimizers:
        optimizer.zero_grad(set_to_none=True)
    for index, (cloudy, clear, target) in enumerate(micros):
        check_batch(cloudy, clear, target, len(config.bands))
        waits = index + 1 < len(micros)
        with run.fabric.no_backward_sync(run.generator, enabled=waits):
            restored, parts = _generator_pass(
                run, config, (cloudy, clear, target), adversarial, len(micros)
            )
        if adversarial:
            with run.fabric.no_backward_sync(run.discriminator, enabled=waits):
                parts["discriminator"] = _discriminator_pass(
                    run, cloudy, clear, restored.detach(), len(micros)
                )
        for name, value in parts.items():
            totals[name] = totals.get(name, 0.0) + float(value.detach()) / len(micros)
    if not all(math.isfinite(value) for value in totals.values()):
        raise OptionError(
            f"the loss is not finite at step {step} ({totals}); lower learning_rate, or set "
            'precision = "fp32"'
        )
    run.fabric.clip_gradients(
        run.generator, run.optimizers[0], max_norm=10.0, error_if_nonfinite=False
    )
    _update(run, run.optimizers if adversarial else run.optimizers[:1])
    return totals


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
    run: Run, config: Config, batch: Example, adversarial: bool, count: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradients of ``L_cGAN + L_L1 + L_Att`` for the generator alone."""
    cloudy, clear, target = batch
    restored, attention = run.generator(cloudy.to(memory_format=torch.channels_last))
    parts = {
        "l1": channel_l1_loss(restored, clear, config.channel_weights, target >= 0),
        "attention": attention_loss(attention, target, config.attention_kind),
    }
    loss = parts["l1"] + config.attention_weight * parts["attention"]
    if adversarial:
        # the bare network: its own gradients are not wanted here
        with run.fabric.autocast():
            logits = run.discriminator.module(cloudy, restored)
        parts["adversarial"] = adversarial_loss(logits.float())
        loss = loss + config.adversarial_weight * parts["adversarial"]
    wanted = list(run.generator.parameters())
    run.fabric.backward(loss / count, inputs=wanted)
    return restored, parts


def _discriminator_pass(
    run: Run, cloudy: Tensor, clear: Tensor, restored: Tensor, count: int
) -> Tensor:
    """Gradients of ``-L_cGAN`` for the discriminator."""
    real, fake = run.discriminator(cloudy, clear), run.discriminator(cloudy, restored)
    loss = discriminator_loss(real.float(), fake.float())
    run.fabric.backward(loss / count)
    return loss


def check_batch(cloudy: Tensor, clear: Tensor, target: Tensor, channels: int) -> None:
    """Refuse a batch that would spoil the weights.

    Raises
    ------
    SceneError
        If it has another number of bands, its parts differ in size, or it holds NaN.
    """
    if cloudy.shape[1] != channels or clear.shape[1] != channels:
        raise SceneError(
            f"a batch has {cloudy.shape[1]} cloudy and {clear.shape[1]} clear bands, and the config "
            f"names {channels}; give the config and the data the same bands"
        )
    if not cloudy.shape[2:] == clear.shape[2:] == target.shape[2:]:
        raise SceneError(
            f"the parts of a batch differ in size: {tuple(cloudy.shape)}, {tuple(clear.shape)}, "
            f"{tuple(target.shape)}"
        )
    for name, part in (("cloudy", cloudy), ("clear", clear), ("attention", target)):
        if not torch.isfinite(part).all():
            where = [int(i) for i in torch.nonzero(~torch.isfinite(part))[0]]
            raise SceneError(
                f"the {name} part of a batch holds a NaN or infinity (example {where[0]}, band "
                f"{where[1]}, row {where[2]}, column {where[3]}); mend the file or leave it out"
            )


@torch.no_grad()
def validate(
    generator: nn.Module, average: dict[str, Tensor], pairs: Sequence[Pair]
) -> tuple[float, list[np.ndarray[Any, Any]]]:
    """Mean gain in PSNR (dB) of the averaged generator on real pairs, and the restored images."""
    live = {k: v.clone() for k, v in generator.state_dict().items()}
    generator.load_state_dict(average)
    generator.eval()
    device = next(generator.parameters()).device
    gains, images = [], []
    for pair in pairs:
        restored, _ = generator(torch.from_numpy(pair.cloudy)[None].to(device))
        images.append(restored[0].float().cpu().numpy())
        gains.append(gain_db(images[-1], pair.cloudy, pair.clear, pair.valid))
    generator.train()
    generator.load_state_dict(live)
    return (float(np.mean(gains)) if gains else 0.0), images
