"""The networks and optimizers of a run, written down so that a killed run goes on.

Checkpoints are safetensors, never pickles.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from geodecloud.errors import OptionError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import find_weights, read_card
from geodecloud.models.spanet import SPANet
from geodecloud.raster.whole_files import replacing
from geodecloud.training.config import Config

log = logging.getLogger(__name__)

#: File in a run's folder to go on from.
CHECKPOINT = "checkpoint.safetensors"


@dataclass
class Run:
    """What changes while a run goes on; networks and optimizers as Fabric has set them up.

    Attributes
    ----------
    average : the generator with its weights averaged over the steps (EMA)
    optimizers : of generator and discriminator
    checkpoint : file to go on from
    """

    fabric: Fabric
    generator: Any
    discriminator: Any
    average: SPANet
    optimizers: tuple[Any, ...]
    checkpoint: Path

    @property
    def _networks(self) -> dict[str, Any]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def write_checkpoint(self, config: Config, step: int, best: float) -> None:
        """Write everything needed to go on after `step`; a kill half-way leaves the previous one."""
        tensors: dict[str, Tensor] = {}
        for name, network in (self._networks | {"average": self.average}).items():
            tensors |= {f"{name}.{k}": v for k, v in network.state_dict().items()}
        for name, optimizer in zip(self._networks, self.optimizers, strict=True):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{name}.{index}.{k}": v for k, v in state.items()}
        tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        metadata = {
            "step": str(step),
            "best": repr(best),
            "config": repr(config),
            "scaler": json.dumps(self.fabric.strategy.precision.state_dict()),  # of losses, in fp16
        }
        with replacing(self.checkpoint) as part:
            save_file(tensors, str(part), metadata)

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
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["config"] != repr(config):
            raise OptionError(
                f"{self.checkpoint} was made with another config; give another --out, or remove it "
                "to start anew"
            )
        for name, network in (self._networks | {"average": self.average}).items():
            network.load_state_dict(_below(stored, f"{name}."))
        for name, optimizer in zip(self._networks, self.optimizers, strict=True):
            states: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _below(stored, f"adam.{name}.").items():
                index, part = key.split(".")
                states.setdefault(int(index), {})[part] = tensor
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.fabric.strategy.precision.load_state_dict(json.loads(metadata["scaler"]))
        log.info("resumed at step %s", metadata["step"])
        return int(metadata["step"]), float(metadata["best"])


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def finished_card(config: Config, out: Path) -> ModelCard | None:
    """The card of what a run of this config ended in; None: it has not ended, or its weights are gone."""
    checkpoint, weights = out / CHECKPOINT, out / f"{config.name}.safetensors"
    if not checkpoint.exists() or not weights.exists():
        return None
    with safe_open(str(checkpoint), framework="pt") as file:
        metadata = file.metadata()
    done = metadata["config"] == repr(config) and metadata["step"] == str(config.steps)
    return read_card(weights) if done else None


def keep_models(config: Config, out: Path, anew: bool) -> None:
    """Copy the models that are read when a run ends: it ends the same whatever becomes of them.

    Parameters
    ----------
    anew : whether the run begins, and replaces what another one has left
    """
    for option in ("mean_with", "veil_from"):
        model, copy = getattr(config, option), out / f"{option}.safetensors"
        if model and (anew or not copy.exists()):
            with replacing(copy) as part:
                shutil.copyfile(find_weights(model), part)


def kept_model(config: Config, out: Path, option: str) -> Path:
    """The copy of an option's model; before there is one, the model itself."""
    copy = out / f"{option}.safetensors"
    return copy if copy.exists() else find_weights(getattr(config, option))
