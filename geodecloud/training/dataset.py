"""Endless examples: clear crops under simulated clouds, each drawn from its own number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from geodecloud.bands import known_wavelength_nm
from geodecloud.models.context import append_planes, scene_percentiles
from geodecloud.training.chips import Chip, draw_crop
from geodecloud.training.clouds import Array, SimulatedPair, simulate_clouds
from geodecloud.training.display import draw_picture

Example = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one example is drawn.

    Attributes
    ----------
    bands : of the chips and textures, in order
    composites : lists of `bands`, each as long as the model has channels; the first is what
        the model is for, the others are drawn where a chip has them
    optional : bands of which some are taken away now and then
    drop_share : how often
    display_share : how often the pair is drawn as an 8-bit picture
    untouched_share : how often there is no cloud for certain; a clear sky is drawn, too
    texture_share : how often clouds have the texture of real ones
    context : percentiles of the scene that the model gets, see `geodecloud.models.context`
    crop_px, seed
    """

    bands: tuple[str, ...]
    composites: tuple[tuple[str, ...], ...]
    optional: tuple[str, ...] = ()
    drop_share: float = 0.0
    display_share: float = 0.0
    untouched_share: float = 0.0
    texture_share: float = 0.35
    context: tuple[float, ...] = ()
    crop_px: int = 96
    seed: int = 1


class SimulatedClouds(Dataset[Example]):
    """Example ``index`` is input, clear (C, H, W) and attention (1, H, W), all float32.

    The input is the cloudy crop, with the planes of the context behind its channels. An example
    depends on the recipe, the data and the index, on nothing else: not on the worker that
    draws it, nor on what was drawn before.
    """

    def __init__(
        self, chips: Sequence[Chip], textures: Sequence[Array], recipe: Recipe, length: int
    ) -> None:
        self.chips, self.textures, self.recipe, self.length = chips, textures, recipe, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        """Draw one example."""
        pair, side = self.draw(index), self.recipe.crop_px
        # the statistics are those of a scene, of which the network sees a part
        margin = (pair.clear.shape[1] - side) // 2
        here = np.s_[:, margin : margin + side, margin : margin + side]
        image = torch.from_numpy(pair.cloudy[here])
        if self.recipe.context:
            context = scene_percentiles(pair.cloudy, None, self.recipe.context)
            image = append_planes(image[None], context)[0]
        return (
            image,
            torch.from_numpy(pair.clear[here]),
            torch.from_numpy(pair.attention[None][here]),
        )

    def draw(self, index: int) -> SimulatedPair:
        """Draw one example as a simulated pair, larger than the crop where there is context."""
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.seed, index])
        wavelengths = [known_wavelength_nm(band) for band in recipe.bands]
        side = recipe.crop_px * (2 if recipe.context else 1)
        crop = draw_crop(self.chips, side, wavelengths, rng)
        names = self._composite(crop, rng)
        chosen = [recipe.bands.index(name) for name in names]
        crop = self._without_some(crop[chosen], names, rng)
        textures = [texture[chosen] for texture in self.textures]
        wavelengths = [wavelengths[i] for i in chosen]
        untouched = rng.random() < recipe.untouched_share
        skies = {"clear": 1.0} if untouched else None
        pair = simulate_clouds(crop, wavelengths, rng, textures, recipe.texture_share, skies)
        if rng.random() < recipe.display_share:
            return draw_picture(pair, rng, veiled=False if untouched else None)
        return pair

    def _composite(self, crop: Array, rng: np.random.Generator) -> tuple[str, ...]:
        """One of the composites whose bands the crop has."""
        there = {name for name, band in zip(self.recipe.bands, crop, strict=True) if band.any()}
        first, *others = self.recipe.composites
        possible = [names for names in others if set(names) <= there]
        if not possible or rng.random() < 0.6:
            return first
        return possible[int(rng.integers(len(possible)))]

    def _without_some(self, crop: Array, names: Sequence[str], rng: np.random.Generator) -> Array:
        """The crop, now and then with some optional bands taken away (planes of zeros)."""
        if rng.random() >= self.recipe.drop_share:
            return crop
        crop = crop.copy()
        # products lack B10, or have nothing but their 10 m and 20 m bands, or any few
        lost = set(self.recipe.optional)
        kind = rng.integers(3)
        if kind == 0:
            lost &= {"B10"}
        elif kind == 1:
            lost &= {"B01", "B09", "B10"}
        else:
            lost = {name for name in lost if rng.random() < 0.4}
        crop[[name in lost for name in names]] = 0
        return crop
