"""What becomes of shadows: simulated cumulus over large clear scenes, with the sun told and not told.

::

    python benchmarks/shadows.py DATA --model s2-10m

DATA holds clear/, of which the scenes of at least 500 px a side and the bands B02 B03 B04 B08 are taken. The network has learnt these
grounds; what lights the shadows up (`geodecloud.restore.relight`) has learnt nothing. Skies are cumulus and fair, drawn by a
seed, and all of them throw shadows. PSNR in dB of the pixels in shadow that no cloud covers, before and after, and of clear
pixels after.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import dask
import numpy as np

from geodecloud.options import Options
from geodecloud.pipeline import decloud
from geodecloud.scene.bands import known_wavelength_nm
from geodecloud.scene.reflectance import Codec
from geodecloud.training.chips import read_chips
from geodecloud.training.clouds import simulate_clouds
from geodecloud.training.evaluate import opacity_classes, scene_of
from geodecloud.training.pairs import Pair

BANDS = ("B02", "B03", "B04", "B08")
LEAST_PX, SKIES, SEED = 500, 2, 12


def decibel(square: float) -> float:
    """PSNR of a mean squared error, of reflectance."""
    return float(-10 * np.log10(max(square, 1e-12)))


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="s2-10m", show_default=True)
def main(data: Path, model: str) -> None:
    """Print a table."""
    codec = Codec((1e-4,) * len(BANDS), (0.0,) * len(BANDS), "uint16", 0, "simulated")
    nm = [known_wavelength_nm(band) for band in BANDS]
    chips = [c for c in read_chips(data / "clear", BANDS) if min(c.image.shape[1:]) >= LEAST_PX]
    print("| ground | shadow px | input | sun told | not told | found | clear, told | not told |")
    print("|---|---|---|---|---|---|---|---|")
    total = np.zeros(5)  # squares of three, pixels, scenes
    for number, chip in enumerate(chips):
        for sky in range(SKIES):
            rng = np.random.default_rng([SEED, number, sky])
            kinds = {"cumulus": 0.5, "fair": 0.5}
            drawn = simulate_clouds(chip.image, nm, rng, skies=kinds, shadow_share=1.0)
            told = Pair(
                chip.place, drawn.cloudy, chip.image, BANDS, codec, drawn.opacity, drawn.shadow
            )
            told = dataclasses.replace(told, sun_azimuth_deg=drawn.sun_azimuth_deg)
            dark = opacity_classes(told)["shadow"] & (drawn.shadow > 0.2) & chip.image.all(axis=0)
            clear = opacity_classes(told)["clear"] & chip.image.all(axis=0)
            if dark.sum() < 500:
                continue
            row = [((drawn.cloudy - chip.image) ** 2).mean(axis=0)[dark].mean()]
            clears, found = [], []
            for pair in (told, dataclasses.replace(told, sun_azimuth_deg=None)):
                result = decloud(scene_of(pair).chunk(), Options(model=model))
                error = ((codec.decode(result.image.values) - chip.image) ** 2).mean(axis=0)
                row.append(error[dark].mean())
                clears.append(error[clear].mean())
                (around,) = dask.compute(result.ground)
                found.append("no" if around is None or around.item().shadows is None else "yes")
            total += np.array([dark.sum() * each for each in row] + [dark.sum(), 1])
            said = " | ".join(f"{decibel(each):.1f}" for each in row)
            rest = " | ".join(f"{decibel(each):.1f}" for each in clears)
            print(
                f"| {chip.place} | {dark.sum()} | {said} | {', '.join(found)} | {rest} |",
                flush=True,
            )
    means = " | ".join(f"{decibel(each / total[3]):.1f}" for each in total[:3])
    print(f"| **all {int(total[4])}** | {int(total[3])} | {means} | | | |")


if __name__ == "__main__":
    main()
