"""Model weights: safetensors files that carry their card, shipped, made or imported.

No pickle is read here, except by `import_published`, and there with ``weights_only``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from geodecloud.errors import WeightsError
from geodecloud.models.architecture import architecture_of
from geodecloud.models.card import Channel, ModelCard
from geodecloud.models.catalogue import IDENTITY, SHIPPED, find_weights
from geodecloud.models.spanet import DIRECTIONS, SPANet
from geodecloud.models.tensors import CARD_KEY, hash_tensors, read_tensors
from geodecloud.models.veil import PREFIX
from geodecloud.raster.whole_files import replacing


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode, its card, and where it was loaded from.

    Attributes
    ----------
    card : of the file; `current_card` is that of the network as it is now
    network : restores (N, C, H, W), see `geodecloud.models.spanet.SPANet.forward`
    model_ref : name or path
    veil : tensors of `geodecloud.models.veil`, of a model that lifts veils
    """

    card: ModelCard
    network: nn.Module
    model_ref: str
    veil: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __repr__(self) -> str:
        bands = " ".join(self.card.channel_names) or "any bands"
        return f"<Model {self.card.name}: {bands}, halo {self.card.halo_px} px>"

    @property
    def is_spanet(self) -> bool:
        """Whether the network is the one this package knows, tensor by tensor."""
        return isinstance(self.network, SPANet)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All tensors as they are now, by name."""
        now = {name: t.detach().cpu().numpy() for name, t in self.network.state_dict().items()}
        return now | dict(self.veil)

    def current_card(self) -> ModelCard:
        """The card with the hash of the network as it is now: it may have been trained on."""
        if self.card.kind == IDENTITY.kind:
            return self.card
        return dataclasses.replace(self.card, sha256=hash_tensors(self.tensors()))


class Identity(nn.Module):
    """The model that changes nothing and sees no cloud, as a network."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch itself and a cloud map of zeros (N, 1, H, W)."""
        return image, image.new_zeros(image.shape[0], 1, *image.shape[2:])


def tensor_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of tensors, see `geodecloud.models.tensors.hash_tensors`."""
    return hash_tensors({name: t.detach().cpu().numpy() for name, t in tensors.items()})


def build_network(card: ModelCard) -> nn.Module:
    """Make the network a card describes, with fresh weights.

    Raises
    ------
    WeightsError
        If the card asks for a network this version does not know.
    """
    count, options = len(card.channels), dataclasses.asdict(architecture_of(card))
    return SPANet(count, count, **options)


def save_weights(
    network: nn.Module, card: ModelCard, path: str | Path, veil: dict[str, Tensor] | None = None
) -> ModelCard:
    """Write a network and its card as one safetensors file; return the card with its hash.

    Parameters
    ----------
    veil : tensors of `geodecloud.models.veil`, for a model that lifts veils
    """
    whole = network.state_dict() | (veil or {})
    tensors = {name: t.detach().cpu().contiguous() for name, t in whole.items()}
    card = dataclasses.replace(card, sha256=tensor_hash(tensors), lifts_veil=bool(veil))
    with replacing(Path(path)) as part:
        # not by save_file: nobody but its owner could read what that writes
        part.write_bytes(save(tensors, metadata={CARD_KEY: card.to_json()}))
    return card


def load_model(name_or_path: str | Path) -> Model:
    """Load a shipped model, ``identity``, or a .safetensors file made by this package.

    Returns
    -------
    Model
        On the CPU, in evaluation mode, float32.

    Raises
    ------
    WeightsError
        If there is no such model, or the file is corrupt, foreign or not what its card says.
    """
    if str(name_or_path) == IDENTITY.name:
        return Model(IDENTITY, Identity(), IDENTITY.name)
    path = find_weights(name_or_path)
    card, tensors = read_weights(path)
    network = build_network(card)
    veil = {name: tensor.numpy() for name, tensor in tensors.items() if name.startswith(PREFIX)}
    network.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in veil})
    model_ref = card.name if path.parent == SHIPPED else str(path)
    return Model(card, network.eval(), model_ref, veil)


def read_weights(path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Read card and tensors of one file, see `geodecloud.models.tensors.read_tensors`."""
    card, arrays = read_tensors(path)
    return card, {name: torch.from_numpy(array) for name, array in arrays.items()}


def import_published(checkpoint: str | Path, out: str | Path, name: str) -> ModelCard:
    """Turn a published SpA GAN checkpoint (.pth) into a weights file with an honest card.

    The published graph computes direction weights and drops them, and never calls one of
    its convolutions: these 16 228 parameters have no effect and are left behind.

    Parameters
    ----------
    checkpoint : file written by the authors' code, legacy torch serialisation
    out : the .safetensors file to write
    name : the model's name

    Raises
    ------
    WeightsError
        If the file is not such a checkpoint.
    """
    try:
        published = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{checkpoint} does not exist") from error
    except Exception as error:
        # torch's own advice, to load it without weights_only, is what must not be followed
        raise WeightsError(
            f"{checkpoint} is not a torch checkpoint that holds weights and nothing else"
        ) from error
    network = SPANet(3, 3, passes="one-step", direction_weights=False, output="image")
    try:
        network.load_state_dict(_from_published(published))
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise WeightsError(
            f"{checkpoint} is a torch file, but not a published SpA GAN generator: {error}"
        ) from error
    card = ModelCard(
        name=name,
        summary="SpA GAN generator as published, imported; darkens clear ground, 8-bit RGB only",
        architecture={"passes": "one-step", "direction_weights": False, "output": "image"},
        # the authors read images with OpenCV: blue comes first
        channels=(Channel("B02", 492.4), Channel("B03", 559.8), Channel("B04", 664.6)),
        value_range=(0.0, 1.0),
        halo_px=network.reach_px,
        has_cloud_map=False,
        training="RICE data set (Lin et al. 2019), 8-bit DN / 255, by the authors of SpA GAN",
        licence="MIT (github.com/Penn000/SpA-GAN_for_cloud_removal); imagery of RICE: see there",
    )
    return save_weights(network, card, out)


def _from_published(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the published generator to ours."""
    get = {key.removeprefix("gen.gen."): tensor for key, tensor in published.items()}
    ours = {"conv_in.weight": get["conv_in.0.weight"], "conv_out.weight": get["conv_out.0.weight"]}
    blocks = [f"entry.{i}" for i in range(3)]
    blocks += [f"attentive.{sab}.{i}" for sab in range(4) for i in range(3)]
    blocks += [f"exit.{i}" for i in range(2)]
    for number, block in enumerate(blocks, start=1):
        for conv in ("conv1", "conv2", "conv3"):
            ours[f"{block}.{conv}.weight"] = get[f"res_block{number}.group1.{conv}.weight"]
    for conv in ("conv1", "conv2", "conv3"):
        for part in ("weight", "bias"):
            ours[f"attention.{conv}.{part}"] = get[f"SAM1.{conv}.{part}"]
    ours["attention.conv_out.weight"] = get["SAM1.conv_out.weight"]
    for number in (1, 2):
        for part in ("weight", "bias"):
            ours[f"attention.pass{number}.{part}"] = torch.stack(
                [get[f"SAM1.irnn{number}.{d}_weight.{part}"].flatten() for d in DIRECTIONS]
            )
    return ours
