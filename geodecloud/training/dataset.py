"""Examples to train on, each drawn from its own number: crops under simulated clouds, or of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from geodecloud.errors import SceneError
from geodecloud.scene.bands import known_wavelength_nm
from geodecloud.scene.reflectance import PLAIN, Tone
from geodecloud.training.chips import Chip, draw_crop
from geodecloud.training.clouds import SKIES, Array, SimulatedPair, simulate_clouds
from geodecloud.training.display import draw_picture, even_ground
from geodecloud.training.losses import UNKNOWN, cloud_mask
from geodecloud.training.opacity import estimate_attention
from geodecloud.training.pairs import Pair

Example = tuple[Tensor, Tensor, Tensor]

#: How pictures are stretched that clouds are learnt on, as `geodecloud.training.display.STRETCHES`: seldom
#: to the percentiles of the crop, for a picture is stretched as a whole.
_STRETCHES = {"web": (0.1, 0.05), "gain": (0.5, 0.15), "root": (0.3, 0.7), "level": (0.1, 0.1)}
#: A picture's pixel is so many of the clear imagery's, drawn at random: clouds of a few px are common in
#: pictures.
_ZOOMS = (1, 2, 2, 3)
#: How often the first of several composites is drawn where the others can be, too.
_FIRST = 0.4


@dataclass(frozen=True)
class SampleSpec:
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
    skies : kind of sky -> how often it is drawn otherwise
    texture_share : how often clouds have the texture of real ones
    tone : of the pictures, as the network is to see them
    crop_px, seed
    """

    bands: tuple[str, ...]
    composites: tuple[tuple[str, ...], ...]
    optional: tuple[str, ...] = ()
    drop_share: float = 0.0
    display_share: float = 0.0
    untouched_share: float = 0.0
    skies: Mapping[str, float] = field(default_factory=lambda: SKIES)
    texture_share: float = 0.35
    tone: Tone = PLAIN
    crop_px: int = 96
    seed: int = 1


class SimulatedClouds(Dataset[Example]):
    """Example ``index`` is cloudy, clear (C, H, W) and attention (1, H, W), all float32.

    It depends on the recipe, the data and the index, on nothing else: not on the worker that
    draws it, nor on what was drawn before.
    """

    def __init__(
        self, chips: Sequence[Chip], textures: Sequence[Array], recipe: SampleSpec, length: int
    ) -> None:
        self.chips, self.textures, self.recipe, self.length = chips, textures, recipe, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        """Draw one example."""
        pair = self.draw(index)
        return _tensors(pair.cloudy, pair.clear, pair.attention)

    def draw(self, index: int) -> SimulatedPair:
        """Draw one example as a simulated pair."""
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.seed, index])
        zoom = int(rng.choice(_ZOOMS)) if recipe.display_share else 1
        crop, names = self.draw_ground(rng, recipe.crop_px * zoom)
        crop = self._without_some(crop, names, rng)
        textures = [texture[[recipe.bands.index(n) for n in names]] for texture in self.textures]
        wavelengths = [known_wavelength_nm(name) for name in names]
        if recipe.display_share:
            crop = even_ground(crop, wavelengths, rng)
        untouched = rng.random() < recipe.untouched_share
        skies = {"clear": 1.0} if untouched else recipe.skies
        pair = simulate_clouds(crop, wavelengths, rng, textures, recipe.texture_share, skies)
        pair = coarsen(pair, zoom)
        if rng.random() < recipe.display_share:
            false_colour = names != recipe.composites[0]
            return draw_picture(pair, rng, false_colour, untouched, _STRETCHES, recipe.tone)
        return pair

    def draw_ground(self, rng: np.random.Generator, side: int) -> tuple[Array, tuple[str, ...]]:
        """Draw a clear crop of `side` px, and the names of the bands it is made of."""
        bands = self.recipe.bands
        crop = draw_crop(self.chips, side, [known_wavelength_nm(band) for band in bands], rng)
        names = self._composite(crop, rng)
        return crop[[bands.index(name) for name in names]], names

    def _composite(self, crop: Array, rng: np.random.Generator) -> tuple[str, ...]:
        """One of the composites whose bands the crop has."""
        there = {name for name, band in zip(self.recipe.bands, crop, strict=True) if band.any()}
        first, *others = self.recipe.composites
        possible = [names for names in others if set(names) <= there]
        if not possible or rng.random() < _FIRST:
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
            # in the order of the recipe: that of a set is another one in each process
            lost = {name for name in self.recipe.optional if rng.random() < 0.4}
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

    return SimulatedPair(*map(coarse, (pair.cloudy, pair.clear, pair.opacity, pair.shadow)))


class PairCrops(Dataset[Example]):
    """Crops of pairs as they are; example ``index`` is that of `SimulatedClouds`.

    The attention is the true opacity or shadow where the pair has it, else the paper's mask ``M``
    (`geodecloud.training.losses.cloud_mask`). If `dates_differ`, it is what
    `geodecloud.training.opacity` makes of them: the paper's mask would call every change of the
    ground a cloud.

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
        rng = np.random.default_rng([self.simulated.recipe.seed, index, 1])
        return (self.real if rng.random() < self.share else self.simulated)[index]


def _attention(pair: Pair, dates_differ: bool) -> Array:
    """What the attention is to be, unknown where the pair has no data."""
    attention = _attention_of_data(pair, dates_differ)
    return np.where(pair.valid, attention, np.float32(UNKNOWN))


def _attention_of_data(pair: Pair, dates_differ: bool) -> Array:
    if pair.opacity is not None and pair.shadow is not None:
        return np.maximum(pair.opacity, pair.shadow)
    if dates_differ:
        return estimate_attention(pair)
    both = (torch.from_numpy(image)[None] for image in (pair.cloudy, pair.clear))
    mask: Array = cloud_mask(*both)[0, 0].numpy()
    return mask


def _tensors(cloudy: Array, clear: Array, attention: Array) -> Example:
    parts = (cloudy, clear, attention[None])
    first, second, third = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
    return first, second, third
