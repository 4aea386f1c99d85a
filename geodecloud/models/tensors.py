"""Weights files as plain arrays: card and tensors, checked against each other, without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from geodecloud.errors import WeightsError
from geodecloud.models.architecture import check_network
from geodecloud.models.card import ModelCard
from geodecloud.models.veil import PREFIX

#: Key of the card in a file's metadata.
CARD_KEY = "geodecloud"
Tensors = Mapping[str, NDArray[Any]]


def hash_tensors(tensors: Tensors) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the tensors, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        # "torch." stands in the hashes of all files there are
        digest.update(f"{name} torch.{tensor.dtype} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def read_tensors(path: Path) -> tuple[ModelCard, dict[str, NDArray[Any]]]:
    """Read card and tensors of one file and check them against each other.

    Raises
    ------
    WeightsError
        If the file is corrupt, foreign, damaged or not what its card says.
    """
    try:
        with safe_open(str(path), framework="np") as weights:
            metadata = weights.metadata() or {}
            tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a readable safetensors file ({error}). A published .pth checkpoint "
            "is turned into one with: geodecloud models import CHECKPOINT --out FILE.safetensors"
        ) from error
    if CARD_KEY not in metadata:
        raise WeightsError(f"{path} holds tensors but no geodecloud model card: not one of ours")
    card = ModelCard.from_json(metadata[CARD_KEY])
    if (found := hash_tensors(tensors)) != card.sha256:
        raise WeightsError(
            f"{path} is damaged: its tensors hash to {found[:12]}…, its card says "
            f"{card.sha256[:12]}…. Copy or download it again"
        )
    network = {name: t.shape for name, t in tensors.items() if not name.startswith(PREFIX)}
    check_network(card, network, path)
    return card, tensors
