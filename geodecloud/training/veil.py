"""Train the perceptrons that find a veil over a whole picture, on simulated pictures.

Half of the pictures lie under a veil of some middle grey. The others have none; some show clouds, and
some show even ground, so that a desert is not taken for a veil.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geodecloud.models.veil import NUMBERS, PREFIX, describe
from geodecloud.scene.bands import known_wavelength_nm
from geodecloud.training.clouds import Array, SimulatedPair, fractal_field, simulate_clouds
from geodecloud.training.dataset import SimulatedClouds
from geodecloud.training.display import draw_picture, even_ground

#: Side of a picture in px.
_SIDE = 160
#: How often a picture of true colour is under a veil, and how often any is under clouds.
_VEILED, _CLOUDED = 0.55, 0.35
_SKIES = {"cirrus": 0.2, "cumulus": 0.5, "deck": 0.3}
#: Perceptrons whose mean counts, and how long each learns.
_MEMBERS, _STEPS = 5, 3000
#: An error on a picture without a veil counts twice one on a picture with a veil.
_HARM = 2.0


@dataclass(frozen=True)
class Pictures:
    """N pictures in numbers.

    Attributes
    ----------
    numbers : (N, 48) `geodecloud.models.veil.describe` of each
    moments : (N, 3, 5) `moments` of each with and without its veil
    weights : (N,) how much each counts
    """

    numbers: Tensor
    moments: Tensor
    weights: Tensor


def learn_veils(examples: SimulatedClouds, count: int, seed: int) -> dict[str, Tensor]:
    """Draw pictures, train the perceptrons of `geodecloud.models.veil`, return their tensors."""
    numbers, found, weights = [], [], []
    for index in range(count):
        seen, bare = draw_veiled(examples, seed, index)
        numbers.append(describe(seen.reshape(3, -1)))
        found.append(moments(seen, bare))
        weights.append(_HARM if seen is bare else 1.0)
    pictures = Pictures(
        *(torch.tensor(np.array(part)).float() for part in (numbers, found, weights))
    )
    return {
        f"{PREFIX}{member}.{name}": tensor
        for member in range(_MEMBERS)
        for name, tensor in _fit(pictures, seed + member).items()
    }


def draw_veiled(examples: SimulatedClouds, seed: int, index: int) -> tuple[Array, Array]:
    """One picture as it is seen and without its veil, each (3, H, W)."""
    rng = np.random.default_rng([seed, index, 2])
    ground, names = examples.draw_ground(rng, _SIDE)
    clouded, true_colour = rng.random() < _CLOUDED, names == examples.config.bands
    veiled = true_colour and rng.random() < _VEILED
    wavelengths = [known_wavelength_nm(name) for name in names]
    cloudy = ground = ground if veiled else even_ground(ground, wavelengths, rng)
    if clouded:
        cloudy = simulate_clouds(ground, wavelengths, rng, (), 0, _SKIES).cloudy
    none = np.zeros(ground.shape[1:], np.float32)
    untouched = not clouded and not veiled
    # the stretch is chosen for what lies under the veil, its clouds included
    bare = SimulatedPair(cloudy, cloudy, none, none)
    picture = draw_picture(bare, rng, not true_colour, untouched).clear
    if not veiled:
        return picture, picture
    opacity, colour = _draw_veil(ground.shape[1:], rng)
    seen = (1 - opacity) * picture + opacity * colour[:, None, None]
    return (np.rint(255 * seen) / 255).astype(np.float32), picture


def _draw_veil(shape_yx: tuple[int, ...], rng: np.random.Generator) -> tuple[Array, Array]:
    """Opacity (H, W) and colour (3,) of a veil over a whole picture, of a middle grey."""
    field = fractal_field(2 * max(shape_yx), 3.6, rng)[: shape_yx[0], : shape_yx[1]]
    veil = rng.uniform(0.2, 0.75) * (1 + rng.uniform(0, 0.25) * field)
    colour = rng.uniform(0.35, 0.65) + rng.uniform(-0.03, 0.03, 3)
    return np.clip(veil, 0, 0.85).astype(np.float32), colour.astype(np.float32)


def moments(seen: Array, bare: Array) -> NDArray[np.float64]:
    """The means from which the squared error of any gain and offset follows: (3, 5)."""
    y, x = seen.astype(np.float64), bare.astype(np.float64)
    return np.stack([v.mean(axis=(1, 2)) for v in (y * y, x * y, y, x, x * x)], axis=1)


def squared_error(guessed: Tensor, found: Tensor) -> Tensor:
    """Mean squared error of each channel after lifting the guessed veil: (N, 4), (N, 3, 5) -> (N, 3)."""
    opacity, colour = guessed[:, :1], guessed[:, 1:]
    gain = 1 / (1 - opacity).clamp(min=0.1)
    offset = -gain * opacity * colour
    yy, xy, y, x, xx = found.unbind(2)
    return gain**2 * yy + offset**2 + xx + 2 * gain * offset * y - 2 * gain * xy - 2 * offset * x


def _fit(pictures: Pictures, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    numbers, found, weights = pictures.numbers, pictures.moments, pictures.weights
    mean, spread = numbers.mean(dim=0), numbers.std(dim=0) + 1e-6
    linear = [nn.Linear(NUMBERS, 128), nn.Linear(128, 128), nn.Linear(128, 4)]
    network = nn.Sequential(
        *(linear[0], nn.ReLU(), nn.Dropout(0.2)),
        *(linear[1], nn.ReLU(), nn.Dropout(0.1)),
        linear[2],
    )
    scaled = (numbers - mean) / spread
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        chosen = torch.randint(len(scaled), (256,))
        noisy = scaled[chosen] + 0.1 * torch.randn(256, NUMBERS)
        error = squared_error(network(noisy).sigmoid(), found[chosen])
        distance = error.mean(dim=1).clamp(min=1e-6).sqrt()
        loss: Any = (weights[chosen] * distance).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    with torch.no_grad():  # the scaling goes into the first layer
        linear[0].bias.sub_(linear[0].weight @ (mean / spread))
        linear[0].weight.div_(spread)
    return {
        f"{number}.{name}": value.detach()
        for number, layer in enumerate(linear)
        for name, value in layer.named_parameters()
    }
