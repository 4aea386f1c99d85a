"""What a whole picture tells of a veil over it: gain and offset from 24 numbers, no network of pixels.

::

    python benchmarks/veil.py --clear DATA/clear --rice DATA/rice [--pictures 9000]

A trial towards a model for pictures. A veil over everything is undone by ``gain * v + offset`` per channel.
A small perceptron guesses both from percentiles and mean gradients of the whole picture; it is trained
on pictures of clear imagery with and without simulated veils, and scored on RICE, of which it has
seen nothing. *Bound* is the best gain and offset there are for each picture.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor, nn

from geodecloud.bands import known_wavelength_nm
from geodecloud.training.chips import draw_crop
from geodecloud.training.clouds import Array, SimulatedPair
from geodecloud.training.config import Config
from geodecloud.training.dataset import SimulatedClouds
from geodecloud.training.display import draw_picture
from geodecloud.training.metrics import psnr_db
from geodecloud.training.pairs import read_pairs
from geodecloud.training.sources import read_sources

CONFIG = Path(__file__).parents[1] / "examples" / "train_rgb.toml"
SHARES = (1, 5, 25, 50, 75, 95, 99)


def features(picture: Array) -> Array:
    """Percentiles of each channel, and how much neighbours differ: (24,)."""
    levels = np.percentile(picture.reshape(3, -1), SHARES, axis=1).T.ravel()
    rough = np.abs(np.diff(picture, axis=2)).mean(axis=(1, 2))
    return np.concatenate([levels, 10 * rough]).astype(np.float32)


def moments(veiled: Array, clear: Array) -> Array:
    """All that the squared error of a gain and an offset depends on: (3, 5)."""
    y, x = veiled.astype(np.float64), clear.astype(np.float64)
    return np.stack([v.mean(axis=(1, 2)) for v in (y * y, x * y, y, x, x * x)], axis=1)


def squared_error(guess: Tensor, found: Tensor) -> Tensor:
    gain, offset = 1 + guess[:, :3], guess[:, 3:]
    yy, xy, y, x, xx = found.unbind(2)
    return gain**2 * yy + offset**2 + xx + 2 * gain * offset * y - 2 * gain * xy - 2 * offset * x


def draw(clear: Path, count: int, side: int) -> tuple[Tensor, Tensor]:
    """Features and moments of pictures without cloud, half of them under a veil."""
    config = Config.read(CONFIG)
    examples, bands = read_sources(config, clear, None, None).examples, config.source_bands
    assert isinstance(examples, SimulatedClouds)
    wavelengths = [known_wavelength_nm(band) for band in bands]
    told, found = [], []
    for index in range(count):
        rng = np.random.default_rng([7, index])
        crop = draw_crop(examples.chips, side, wavelengths, rng)
        names = examples._composite(crop, rng)
        ground = crop[[bands.index(name) for name in names]]
        none = np.zeros(ground.shape[1:], np.float32)
        false_colour, untouched = names != config.bands, rng.random() < 0.3
        bare = SimulatedPair(ground, ground, none, none)
        picture = draw_picture(bare, rng, None, false_colour, untouched)
        told.append(features(picture.cloudy))
        found.append(moments(picture.cloudy, picture.clear))
    return torch.tensor(np.array(told)), torch.tensor(np.array(found), dtype=torch.float32)


def learn(told: Tensor, found: Tensor, epochs: int = 150) -> nn.Module:
    torch.manual_seed(0)
    mean, spread = told.mean(dim=0), told.std(dim=0)
    layers = [nn.Linear(told.shape[1], 128), nn.ReLU(), nn.Dropout(0.1)]
    layers += [nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 6)]
    network = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(told)).split(256):
            guess = network((told[chosen] - mean) / spread)
            loss = squared_error(guess, found[chosen]).mean(dim=1).clamp(min=1e-6).sqrt().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()
    first = network[0]
    with torch.no_grad():  # the scaling goes into the first layer
        first.bias -= first.weight @ (mean / spread)
        first.weight /= spread
    return network


@click.command()
@click.option("--clear", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--rice", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--pictures", default=9000, show_default=True)
@click.option("--side", default=144, show_default=True, help="px of a picture.")
def main(clear: Path, rice: Path, pictures: int, side: int) -> None:
    """Train, and print a Markdown table."""
    network = learn(*draw(clear, pictures, side))
    print("| set | do nothing, dB | guessed | bound | lost > 0.3 dB | lost > 1 dB | worst |")
    print("|---|---|---|---|---|---|---|")
    for name in ("RICE1", "RICE2"):
        before, after, bound = [], [], []
        for pair in read_pairs(rice / name, ("B02", "B03", "B04")):
            with torch.no_grad():
                guess = network(torch.tensor(features(pair.cloudy))[None])[0].numpy()
            image = (1 + guess[:3, None, None]) * pair.cloudy + guess[3:, None, None]
            best = np.stack(
                [
                    Polynomial.fit(y.ravel(), x.ravel(), 1)(y)
                    for y, x in zip(pair.cloudy, pair.clear, strict=True)
                ]
            )
            for scores, made in ((before, pair.cloudy), (after, image), (bound, best)):
                scores.append(psnr_db(made.astype(np.float32), pair.clear))
        gain = np.array(after) - before
        print(
            f"| {name} ({len(gain)}) | {np.mean(before):.2f} | {np.mean(after):.2f} | {np.mean(bound):.2f} "
            f"| {(gain < -0.3).sum()} | {(gain < -1).sum()} | {gain.min():.1f} |"
        )


if __name__ == "__main__":
    main()
