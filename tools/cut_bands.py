"""Cut a model to some of its bands: the same network without the weights of the others.

::

    python tools/cut_bands.py MODEL B02,B03,B04,B08 NAME.safetensors

A band that a scene lacks is a plane of zeros, so the cut network gives the numbers that the whole one
gives for a scene with these bands alone. It needs less, and takes bands by their number in a file that
names none.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from geodecloud.models.card import Channel, ModelCard
from geodecloud.models.spanet import SPANet
from geodecloud.models.weights import load_model, save_weights
from geodecloud.scene.bands import known_wavelength_nm
from geodecloud.training.grow import grow


def cut_bands(model: str | Path, bands: tuple[str, ...], out: Path) -> ModelCard:
    """Write a model that reads these of another model's bands, all of them needed; return its card."""
    whole = load_model(model)
    network = SPANet(len(bands), len(bands), **whole.card.architecture)
    grow(network, bands, whole)
    card = dataclasses.replace(
        whole.card,
        name=out.stem,
        channels=tuple(Channel(band, known_wavelength_nm(band)) for band in bands),
        optional=(),
        summary=f"{whole.card.name} for scenes of {' '.join(bands)} alone",
        training=f"the weights of {whole.card.name} ({whole.card.sha256[:12]}) for these bands; that: {whole.card.training}",
    )
    return save_weights(network, card, out)


if __name__ == "__main__":
    model, names, out = sys.argv[1:]
    print(cut_bands(model, tuple(names.split(",")), Path(out)).sha256)
