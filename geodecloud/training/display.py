"""8-bit pictures of simulated pairs: reflectance stretched as for a screen.

Quick-looks, Sentinel-2's true-colour image, web maps and most data sets of pictures are stretched
reflectance, and their stretch is not recorded. So each pair is drawn with a random one: the strong
contrast of web maps, the plain gain of ESA's true-colour image, or the root of the LandsatLook
quick-looks of the USGS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geodecloud.scene.reflectance import PLAIN, Tone
from geodecloud.training.clouds import Array, SimulatedPair

#: How often ground is made even before clouds come over it.
_EVEN_GROUND = 0.35
#: How often a picture without cloud is of even ground.
_EVEN = 0.5
#: Opacity below which what a picture shows is noise.
_TRACE = 0.02
#: How a picture was stretched -> how often, in true and in false colour.
STRETCHES = {"web": (0.5, 0.15), "gain": (0.25, 0.1), "root": (0.1, 0.65), "level": (0.15, 0.1)}


def even_ground(clear: Array, wavelengths_nm: Sequence[float], rng: np.random.Generator) -> Array:
    """Clear ground, now and then with little contrast: its own, open water, or bare soil.

    Water darkens towards the infrared, soil brightens. Clear imagery holds little desert and sea, and
    without such ground a network takes them for cloud.

    Parameters
    ----------
    clear : (C, H, W) reflectance
    """
    if rng.random() >= _EVEN_GROUND:
        return clear
    middle = np.median(clear, axis=(1, 2)).astype(np.float64)
    relative = np.asarray(wavelengths_nm, np.float64) / 560
    kind = int(rng.integers(3))
    if kind == 0:
        level = middle
    elif kind == 1:
        level = rng.uniform(0.01, 0.09) * relative ** -rng.uniform(1, 3)
    else:
        level = rng.uniform(0.12, 0.5) * relative ** rng.uniform(0, 0.8)
    contrast = rng.uniform(0.02, 0.6) * np.minimum(level / np.maximum(middle, 0.01), 1)
    there = np.any(clear, axis=(1, 2), keepdims=True)  # an absent band stays so
    even = level[:, None, None] + (clear - middle[:, None, None]) * contrast[:, None, None]
    return (there * np.clip(even, 0, None)).astype(np.float32)


def draw_picture(
    pair: SimulatedPair,
    rng: np.random.Generator,
    false_colour: bool = False,
    untouched: bool = False,
    stretches: Mapping[str, tuple[float, float]] = STRETCHES,
    tone: Tone = PLAIN,
) -> SimulatedPair:
    """Draw both images of a pair as one 8-bit picture each, with one random stretch.

    ``v = clip((reflectance - black) * gain) ** gamma`` per channel, in steps of 1 / 255:

    * *web*: stretched to the percentiles of the clear image, as web maps are;
    * *gain*: one gain for all channels, as ESA's true-colour image has;
    * *root*: gamma near 0.5, as in LandsatLook, mostly of false colour (B11, B08, B04);
    * *level*: the median brought to a random brightness, so that bright, even ground such as a desert
      is not taken for a veil.

    Parameters
    ----------
    false_colour : whether the bands are not blue, green and red
    untouched : whether nothing lies over the ground; now and then it is made even, of any brightness,
        so that a desert or a lake is not taken for a veil
    stretches : kind -> how often, in true and in false colour
    tone : of the model that is to see it

    Returns
    -------
    The pair, in [0, 1] or in the light of `tone`, with opacity and shadow as the picture shows them
    """
    black, gain, gamma = _stretch(pair.clear, rng, false_colour, stretches)

    def stretch(image: Array) -> Array:
        above = (image - black[:, None, None]) * gain[:, None, None]
        return np.clip(above, 0, 1).astype(np.float32) ** np.float32(gamma)

    clear, cloudy = stretch(pair.clear), stretch(pair.cloudy)
    if untouched:
        if rng.random() < _EVEN:
            clear = _even(clear, rng)
        cloudy = clear
    cloudy, clear = tone.light(_in_8_bits(cloudy)), tone.light(_in_8_bits(clear))
    opacity, shadow = _as_seen(cloudy, clear, pair, tone.white)
    return SimulatedPair(cloudy, clear, opacity, shadow)


def _as_seen(cloudy: Array, clear: Array, pair: SimulatedPair, white: float) -> tuple[Array, Array]:
    """Opacity and shadow of the picture, (H, W): how far it is on the way to white, or to black.

    A stretch with a root brightens thin cloud over dark water to half of white; with its true opacity
    the ground under it would come out far below black.
    """
    seen = (cloudy - clear) / np.maximum(white - clear, 0.1 * white)
    shaded = (clear - cloudy) / np.maximum(clear, 0.1 * white)
    both = []
    for true, found in ((pair.opacity, seen), (pair.shadow, shaded)):
        share = np.clip(found.max(axis=0), 0, 1)  # a cloud need only show in one channel
        both.append(np.where(true > _TRACE, np.maximum(true, share), true).astype(np.float32))
    return both[0], both[1]


def _stretch(
    clear: Array,
    rng: np.random.Generator,
    false_colour: bool,
    stretches: Mapping[str, tuple[float, float]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Black point and gain of each channel, (3,), and gamma."""
    shares = [both[false_colour] for both in stretches.values()]
    kind = str(rng.choice(list(stretches), p=shares))
    cast = rng.uniform(0.95, 1.05, 3)
    if kind == "web":
        low, high = np.percentile(clear, [rng.uniform(0, 3), rng.uniform(96, 100)], axis=(1, 2))
        gain = rng.uniform(0.6, 1.0) / np.maximum(high - low, 0.06)
        return low - 0.01, gain, rng.uniform(0.6, 1.2)
    black = np.full(3, rng.uniform(-0.02, 0.03))
    if kind == "gain":
        return black, rng.uniform(2.0, 4.5) * cast, rng.uniform(0.8, 1.1)
    if kind == "root":
        return black * 0.5, rng.uniform(0.9, 1.8) * cast, rng.uniform(0.45, 0.6)
    level = float(np.median(clear - black[:, None, None]))
    return black, rng.uniform(0.1, 0.8) / max(level, 0.02) * cast, rng.uniform(0.6, 1.2)


def _even(image: Array, rng: np.random.Generator) -> Array:
    """The picture with less contrast, half of the time of another brightness."""
    middle = level = np.median(image, axis=(1, 2), keepdims=True).astype(np.float64)
    if rng.random() < 0.5:
        redder = 1 + rng.uniform(-0.05, 0.3) * np.array([-1, 0, 1])  # as soil is
        level = rng.uniform(0.15, 0.75) * (redder * rng.uniform(0.93, 1.07, 3))[:, None, None]
    even: Array = np.clip(level + (image - middle) * rng.uniform(0.25, 0.9), 0, 1).astype(
        np.float32
    )
    return even


def _in_8_bits(image: Array) -> Array:
    return (np.rint(255 * image) / 255).astype(np.float32)
