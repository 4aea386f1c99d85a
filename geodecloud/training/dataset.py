"""Examples to train on, each drawn from its own number: crops under simulated clouds, or of pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from geodecloud.errors import SceneError
from geodecloud.models.card import PRIOR_PX
from geodecloud.scene.bands import known_wavelength_nm
from geodecloud.training.chips import Chip, draw_crop
from geodecloud.training.clouds import Array, SimulatedPair, simulate_clouds
from geodecloud.training.config import Config
from geodecloud.training.display import draw_picture, even_ground
from geodecloud.training.losses import UNKNOWN, cloud_mask
from geodecloud.training.opacity import estimate_attention
from geodecloud.training.pairs import Pair

Example = tuple[Tensor, Tensor, Tensor, Tensor]

#: How pictures to learn clouds on are stretched, in the form of `geodecloud.training.display.STRETCHES`:
#: seldom to the percentiles of the crop, because a real picture is stretched as a whole.
_STRETCHES = {"web": (0.1, 0.05), "gain": (0.5, 0.15), "root": (0.3, 0.7), "level": (0.1, 0.1)}
#: Side of a picture's pixel in pixels of the clear imagery, drawn at random: pictures often show clouds of
#: a few px.
_ZOOMS = (1, 2, 2, 3)
#: How often the model's own bands are drawn where composites can be, too.
_OWN_BANDS = 0.4


class SimulatedClouds(Dataset[Example]):
    """Example ``index`` is cloudy, clear (C, H, W), attention (1, H, W) and shade (1, h, w), all float32.

    It depends on the config, the data and the index alone: not on the worker that draws it, nor on
    what was drawn before.
    """

    def __init__(
        self, chips: Sequence[Chip], textures: Sequence[Array], config: Config, length: int
    ) -> None:
        self.chips, self.textures, self.config, self.length = chips, textures, config, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        """Draw one example."""
        pair = self.draw(index)
        return _tensors(pair.cloudy, pair.clear, pair.attention, pair.shade)

    def draw(self, index: int) -> SimulatedPair:
        """Draw one example as a simulated pair."""
        config, rng = self.config, np.random.default_rng([self.config.seed, index])
        zoom = int(rng.choice(_ZOOMS)) if config.display_share else 1
        crop, names = self.draw_ground(rng, config.crop_px * zoom)
        crop = self._without_some(crop, names, rng)
        which = [config.source_bands.index(name) for name in names]
        textures = [texture[which] for texture in self.textures]
        wavelengths = [known_wavelength_nm(name) for name in names]
        if config.display_share:
            crop = even_ground(crop, wavelengths, rng)
        untouched = rng.random() < config.untouched_share
        skies = {"clear": 1.0} if untouched else config.skies
        pair = simulate_clouds(
            crop,
            wavelengths,
            rng,
            textures,
            config.texture_share,
            skies,
            with_shade=config.shade,
            shadow_share=config.shadow_share,
        )
        pair = coarsen(pair, zoom)
        if rng.random() < config.display_share:
            false_colour = names != config.bands
            return draw_picture(pair, rng, false_colour, untouched, _STRETCHES, config.tone)
        return pair

    def draw_ground(self, rng: np.random.Generator, side: int) -> tuple[Array, tuple[str, ...]]:
        """Draw a clear crop of `side` px, and the names of the bands it is made of."""
        bands = self.config.source_bands
        wavelengths = [known_wavelength_nm(band) for band in bands]
        config = self.config
        light = (config.area_power, config.dim_share, config.bright_share)
        crop = draw_crop(self.chips, side, wavelengths, rng, *light)
        there = {name for name, band in zip(bands, crop, strict=True) if band.any()}
        names = self._draw_composite(there, rng)
        return crop[[bands.index(name) for name in names]], names

    def _draw_composite(self, there: set[str], rng: np.random.Generator) -> tuple[str, ...]:
        """The bands, or one of the composites of which all bands are there."""
        possible = [names for names in self.config.composites if set(names) <= there]
        if not possible or rng.random() < _OWN_BANDS:
            return self.config.bands
        return possible[int(rng.integers(len(possible)))]

    def _without_some(self, crop: Array, names: Sequence[str], rng: np.random.Generator) -> Array:
        """The crop, now and then with some optional bands taken away (planes of zeros)."""
        config = self.config
        if config.subsets and rng.random() < config.subset_share:
            left = config.subsets[int(rng.integers(len(config.subsets)))]
            return np.where(np.isin(names, left)[:, None, None], crop, np.float32(0))
        if rng.random() >= config.drop_share:
            return crop
        crop, optional = crop.copy(), config.optional_bands
        # products lack B10, or have nothing but their 10 m and 20 m bands, or any few
        kind = rng.integers(3)
        if kind == 0:
            lost = {"B10"} & set(optional)
        elif kind == 1:
            lost = {"B01", "B09", "B10"} & set(optional)
        else:
            # in the order of the config: the order of a set differs between processes
            lost = {name for name in optional if rng.random() < 0.4}
        crop[[name in lost for name in names]] = 0
        return crop


def coarsen(pair: SimulatedPair, zoom: int) -> SimulatedPair:
    """The pair with pixels `zoom` times as large, each the mean of what it covers."""
    if zoom == 1:
        return pair

    def coarse(image: Array) -> Array:
        *rest, height, width = image.shape
        blocks = image.reshape(*rest, height // zoom, zoom, width // zoom, zoom)
        mean: Array = blocks.mean(axis=(-3, -1), dtype=np.float32)
        return mean

    cloudy, clear, opacity, shadow = map(
        coarse, (pair.cloudy, pair.clear, pair.opacity, pair.shadow)
    )
    return SimulatedPair(cloudy, clear, opacity, shadow)


class PairCrops(Dataset[Example]):
    """Crops of pairs as they are; example ``index`` is that of `SimulatedClouds`.

    The attention to learn is the true opacity or shadow where the pair has it, else the paper's mask
    ``M`` (`geodecloud.training.losses.cloud_mask`), or, if `dates_differ`, the estimate of
    `geodecloud.training.opacity`: the paper's mask would call every change of the ground a cloud.

    Raises
    ------
    SceneError
        If an image is smaller than the crop.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        crop_px: int,
        seed: int,
        length: int,
        dates_differ: bool = False,
    ) -> None:
        for pair in pairs:
            if min(pair.clear.shape[1:]) < crop_px:
                height, width = pair.clear.shape[1:]
                raise SceneError(
                    f"pair {pair.name} is {width} x {height} px, smaller than a crop of {crop_px} px; "
                    f"set crop_px = {min(height, width)} or less"
                )
        self.pairs, self.crop_px, self.seed, self.length = pairs, crop_px, seed, length
        self.attentions = [_attention(pair, dates_differ) for pair in pairs]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        """Draw one crop, turned at random."""
        rng, side = np.random.default_rng([self.seed, index]), self.crop_px
        which = int(rng.integers(len(self.pairs)))
        pair, attention = self.pairs[which], self.attentions[which]
        y, x = (int(rng.integers(n - side + 1)) for n in pair.clear.shape[1:])
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        crops = []
        for image in (pair.cloudy, pair.clear, attention[None]):
            crop = np.rot90(image[:, y : y + side, x : x + side], turns, axes=(1, 2))
            crops.append(crop[:, ::-1] if flip else crop)
        return _tensors(crops[0], crops[1], crops[2][0])


class Mixture(Dataset[Example]):
    """Simulated clouds, and in a `share` of the examples crops of real pairs in their place."""

    def __init__(self, simulated: SimulatedClouds, real: PairCrops, share: float) -> None:
        self.simulated, self.real, self.share = simulated, real, share

    def __len__(self) -> int:
        return len(self.simulated)

    def __getitem__(self, index: int) -> Example:
        """Draw one example."""
        rng = np.random.default_rng([self.simulated.config.seed, index, 1])
        return (self.real if rng.random() < self.share else self.simulated)[index]


def _attention(pair: Pair, dates_differ: bool) -> Array:
    """The attention to learn from a pair, (H, W), unknown where it has no data."""
    if pair.attention is not None:
        found = pair.attention
    elif dates_differ:
        found = estimate_attention(pair)
    else:
        both = (torch.from_numpy(image)[None] for image in (pair.cloudy, pair.clear))
        found = cloud_mask(*both)[0, 0].numpy()
    return np.where(pair.valid, found, np.float32(UNKNOWN))


def _tensors(cloudy: Array, clear: Array, attention: Array, shade: Array | None = None) -> Example:
    if shade is None:  # nothing is known
        shade = np.zeros([-(-n // PRIOR_PX) for n in attention.shape], np.float32)
    parts = (cloudy, clear, attention[None], shade[None])
    first, second, third, last = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
    return first, second, third, last
