"""The moving parts of a run, and how they are written down and taken up again.

Checkpoints are safetensors, never pickles.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from geodecloud.errors import OptionError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import get_card, read_card
from geodecloud.models.weights import build_network, save_weights
from geodecloud.training.config import Config

log = logging.getLogger(__name__)

#: File in a run's folder to go on from.
CHECKPOINT = "checkpoint.safetensors"


@dataclasses.dataclass
class Run:
    """The moving parts of a run; networks and optimizers as Fabric has set them up.

    Attributes
    ----------
    average : the generator's weights, averaged over the steps (EMA)
    optimizers : of generator and discriminator
    checkpoint : file to go on from
    models : what `models_taken_over` said when the run began
    """

    fabric: Fabric
    generator: Any
    discriminator: Any
    average: dict[str, Tensor]
    optimizers: tuple[Any, Any]
    checkpoint: Path
    models: dict[str, str]

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"average.{k}": v for k, v in self.average.items()}
        networks = (("generator", self.generator), ("discriminator", self.discriminator))
        for (name, network), optimizer in zip(networks, self.optimizers, strict=True):
            tensors |= {f"{name}.{k}": v for k, v in network.state_dict().items()}
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{name}.{index}.{k}": v for k, v in state.items()}
        return {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}

    def write_checkpoint(self, config: Config, step: int, best: float, finished: str = "") -> None:
        """Write everything needed to go on; a kill half-way leaves the previous one.

        Parameters
        ----------
        finished : hash of what the run ended in
        """
        partial = self.checkpoint.with_suffix(".part")
        metadata = {
            "step": str(step),
            "best": repr(best),
            "config": repr(config),
            "models": json.dumps(self.models),
            "scaler": json.dumps(self.fabric.strategy.precision.state_dict()),  # of losses, in fp16
            "finished": finished,
        }
        save_file(self._tensors(), str(partial), metadata)
        os.replace(partial, self.checkpoint)

    def resume(self, config: Config) -> tuple[int, float]:
        """Load the checkpoint, if there is one; return the next step and the best gain.

        Raises
        ------
        OptionError
            If the checkpoint was made with another config, or with another model under a name it takes
            over.
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
        self.models = json.loads(metadata["models"]) if "models" in metadata else self.models
        self.check_models(config)
        for name, value in _below(stored, "average.").items():
            self.average[name].copy_(value)
        networks = (("generator", self.generator), ("discriminator", self.discriminator))
        for (name, network), optimizer in zip(networks, self.optimizers, strict=True):
            network.load_state_dict(_below(stored, f"{name}."))
            states: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _below(stored, f"adam.{name}.").items():
                index, part = key.split(".")
                states.setdefault(int(index), {})[part] = tensor
            whole = optimizer.state_dict()
            optimizer.load_state_dict({"state": states, "param_groups": whole["param_groups"]})
        self.fabric.strategy.precision.load_state_dict(json.loads(metadata.get("scaler", "{}")))
        log.info("resumed at step %s", metadata["step"])
        return int(metadata["step"]), float(metadata["best"])

    def check_models(self, config: Config) -> None:
        """See that the models a run takes over are still those it began with.

        Raises
        ------
        OptionError
            If one is not.
        """
        for option, now in models_taken_over(config).items():
            if now != (begun := self.models[option]):
                raise OptionError(
                    f"{option}: {getattr(config, option)} is no longer the model it was when this run "
                    f"began (sha256 {begun[:12]}, now {now[:12]}); put that one back, or give another "
                    "--out to begin anew"
                )

    def write_average(self, card: ModelCard, path: Path) -> None:
        """Write the averaged generator as a finished weights file."""
        network = build_network(card)
        network.load_state_dict(self.average)
        save_weights(network, card, path)


def models_taken_over(config: Config) -> dict[str, str]:
    """Hash of the weights of each model that is read when a run ends, by option.

    What it starts from is in the checkpoint.
    """
    names = {"mean_with": config.mean_with, "veil_from": config.veil_from}
    return {option: get_card(name).sha256 for option, name in names.items() if name}


def finished_card(config: Config, out: Path) -> ModelCard | None:
    """The card of what a run of this config ended in, if it has ended and its weights are still there."""
    checkpoint, weights = out / CHECKPOINT, out / f"{config.name}.safetensors"
    if not checkpoint.exists() or not weights.exists():
        return None
    with safe_open(str(checkpoint), framework="pt") as file:
        metadata = file.metadata()
    card = read_card(weights)
    same = metadata["config"] == repr(config) and metadata.get("finished") == card.sha256
    return card if same else None


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
