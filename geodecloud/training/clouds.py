"""Clouds that never were, over ground that was: the simulator behind the training pairs.

A cloudy reflectance is mixed from ground, shadow and cloud, band by band::

    cloudy_b = (1 - a_b) * ground_b * (1 - s_b) + a_b * L_b

with opacity ``a``, shadow strength ``s`` and cloud reflectance ``L``:

* ``a = 1 - exp(-tau)``: the optical depth ``tau`` is a fractal field of spectral density
  ``f ** -beta`` (clouds are near beta = 3), above a quantile, so that the cover is known.
* Thin cloud scatters short waves more: ``a_b = 1 - (1 - a) ** k_b`` with
  ``k_b = (560 nm / wavelength_b) ** gamma``; gamma is 0 for droplets, up to 1 for haze.
* ``L`` is a textured field, never flat: a network that meets only flat clouds learns
  "flat means cloud" and fails on real ones. A part of the textures are crops of real,
  nearly overcast scenes, handed in by the caller.
* ``s`` is the cloud's own opacity, shifted along a random sun azimuth.

References
----------
Beer-Lambert's law for ``a``, Ångström's law for ``k_b``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: kind of sky -> how often it is drawn; "clear" teaches the network to leave things alone
SKIES = {"clear": 0.15, "veil": 0.17, "cirrus": 0.15, "cumulus": 0.35, "deck": 0.18}


@dataclass(frozen=True)
class SimulatedPair:
    """One training example; arrays are float32, reflectance unitless.

    Attributes
    ----------
    cloudy, clear : (C, H, W) reflectance
    opacity, shadow : (H, W) in [0, 1], opacity at 560 nm and share of sunlight lost
    """

    cloudy: Array
    clear: Array
    opacity: Array
    shadow: Array

    @property
    def attention(self) -> Array:
        """(H, W) in [0, 1]: what the attention map should be, cloud or shadow."""
        return np.maximum(self.opacity, self.shadow)


def fractal_field(
    size_px: int, beta: float, rng: np.random.Generator, stretch: float = 1.0
) -> Array:
    """Draw a random field with power spectrum ``f ** -beta``, mean 0 and variance 1.

    Parameters
    ----------
    size_px : int
        Side of the square field. It is periodic: use a part of it.
    beta : float
        Spectral slope, 2 (rough) to 4 (smooth).
    stretch : float
        How many times longer structures are along one random direction.

    Returns
    -------
    (size_px, size_px) float32
    """
    fy = np.fft.fftfreq(size_px)[:, None]
    fx = np.fft.rfftfreq(size_px)[None, :]
    angle = rng.uniform(0, np.pi)
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = -fx * np.sin(angle) + fy * np.cos(angle)
    f = np.hypot(along * stretch, across)
    f[0, 0] = np.inf  # no mean
    spectrum = np.fft.rfft2(rng.standard_normal((size_px, size_px))) * f ** (-beta / 2)
    field = np.fft.irfft2(spectrum, s=(size_px, size_px))
    return (field / (field.std() + 1e-12)).astype(np.float32)


def simulate_clouds(
    clear: Array,
    wavelengths_nm: Sequence[float],
    rng: np.random.Generator,
    textures: Sequence[Array] = (),
    texture_share: float = 0.35,
) -> SimulatedPair:
    """Put one random sky over a clear patch.

    Parameters
    ----------
    clear : (C, H, W) float32, reflectance
    wavelengths_nm : sequence of C floats
    rng : numpy Generator; the same state gives the same sky
    textures : arrays (C, h, w) of cloud reflectance, h and w at least the patch's
    texture_share : how often one of them is used, 0 to 1

    Raises
    ------
    ValueError
        If the number of wavelengths is not the number of channels.
    """
    channels, height, width = clear.shape
    if len(wavelengths_nm) != channels:
        raise ValueError(f"{len(wavelengths_nm)} wavelengths for {channels} channels")
    wavelengths = np.asarray(wavelengths_nm, dtype=np.float32)

    sky = rng.choice(list(SKIES), p=list(SKIES.values()))
    side = 2 * max(height, width)  # room for the shadow's shift; also hides periodicity
    opacity_field = _opacity(str(sky), side, rng)
    if sky in ("cumulus", "veil") and rng.random() < 0.25:  # a second layer above
        opacity_field = 1 - (1 - opacity_field) * (1 - _opacity("cirrus", side, rng))
    top, left = side // 4, side // 4
    here = np.s_[top : top + height, left : left + width]
    opacity = opacity_field[here]

    shadow = np.zeros((height, width), np.float32)
    if sky in ("cumulus", "deck") and rng.random() < 0.6:
        distance, azimuth = rng.uniform(3, side / 4), rng.uniform(0, 2 * np.pi)
        shift = round(distance * np.sin(azimuth)), round(distance * np.cos(azimuth))
        cast = np.roll(opacity_field, shift, axis=(0, 1))[here]
        shadow = (rng.uniform(0.2, 0.65) * cast).astype(np.float32)

    gamma = rng.uniform(0, 1) if sky in ("veil", "cirrus") else rng.uniform(0, 0.25)
    k = ((560 / wavelengths) ** gamma)[:, None, None]
    opacity_b = 1 - (1 - opacity[None]) ** k
    # skylight fills shadows, and there is more of it at short wavelengths
    span = max(float(np.ptp(wavelengths)), 1.0)
    fill = (0.8 + 0.2 * (wavelengths - wavelengths.min()) / span)[:, None, None]
    ground = clear * (1 - shadow[None] * fill)
    real = textures if rng.random() < texture_share else ()
    cloud = _cloud_reflectance(clear.shape, wavelengths, rng, real)
    cloudy = (1 - opacity_b) * ground + opacity_b * cloud
    cloudy += rng.normal(0, rng.uniform(0, 0.004), clear.shape)
    return SimulatedPair(cloudy.astype(np.float32), clear, opacity, shadow)


def _opacity(sky: str, side: int, rng: np.random.Generator) -> Array:
    """Opacity field (side, side) in [0, 1] of one kind of sky."""
    if sky == "clear":
        return np.zeros((side, side), np.float32)
    if sky == "veil":  # the whole scene at reduced contrast
        veil = rng.uniform(0.08, 0.65) * (1 + rng.uniform(0, 0.4) * fractal_field(side, 3.5, rng))
        return np.clip(veil, 0, 0.85).astype(np.float32)
    # beta, optical depth per standard deviation of the field, cover, stretch
    ranges = {
        "cirrus": ((2.8, 3.6), (0.15, 0.8), (0.3, 0.95), (1.0, 6.0)),
        "cumulus": ((2.6, 3.6), (0.5, 6.0), (0.05, 0.6), (1.0, 1.5)),
        "deck": ((2.6, 3.8), (1.0, 6.0), (0.6, 1.0), (1.0, 2.0)),
    }[sky]
    beta, depth, cover, stretch = (rng.uniform(*low_high) for low_high in ranges)
    field = fractal_field(side, beta, rng, stretch)
    level = np.quantile(field, 1 - cover)
    return (1 - np.exp(-depth * np.clip(field - level, 0, None))).astype(np.float32)


def _cloud_reflectance(
    shape: tuple[int, ...], wavelengths: Array, rng: np.random.Generator, textures: Sequence[Array]
) -> Array:
    """Reflectance (C, H, W) of the cloud itself: bright, textured, slightly coloured."""
    _, height, width = shape
    if textures:
        texture = textures[int(rng.integers(len(textures)))]
        y = rng.integers(texture.shape[1] - height + 1)
        x = rng.integers(texture.shape[2] - width + 1)
        crop = texture[:, y : y + height, x : x + width]
        crop = crop[:, :: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
        return crop * np.float32(rng.uniform(0.7, 1.3))
    brightness = rng.uniform(0.25, 1.0)
    strength = rng.uniform(0, 1.2) * 0.3
    field = fractal_field(2 * max(height, width), rng.uniform(2.2, 3.4), rng)[:height, :width]
    relief = np.clip(1 + strength * field, 0.2, 2.0)
    middle, span = float(wavelengths.mean()), max(float(np.ptp(wavelengths)), 1.0)
    tilt = 1 + rng.uniform(-0.2, 0.2) * (wavelengths - middle) / span
    return (brightness * tilt[:, None, None] * relief[None]).astype(np.float32)
