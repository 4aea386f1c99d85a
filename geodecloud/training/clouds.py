"""Simulated clouds over clear imagery: the examples a model is trained on.

A cloudy reflectance is mixed from ground, shadow and cloud, band by band::

    cloudy_b = (1 - a_b) * ground_b * (1 - s_b) + a_b * L_b

with opacity ``a``, shadow strength ``s`` and cloud reflectance ``L``:

* ``a = 1 - exp(-tau)``: the optical depth ``tau`` is a fractal field of spectral density
  ``f ** -beta`` (clouds are near beta = 3), above a quantile, so that the cover is known.
* Thin cloud scatters short waves more: ``a_b = 1 - (1 - a) ** k_b`` with
  ``k_b = (560 nm / wavelength_b) ** gamma``; gamma is near 0 for droplets and ice. It is 1 and
  more for aerosol, which is not cloud and has to stay (`geodecloud.training.chips.add_atmosphere`).
* ``L`` is a textured field: a network trained on flat clouds takes flat ground for cloud and fails
  on real clouds. Some textures are crops of real, nearly overcast scenes, which the caller gives.
* ``s`` is the cloud's own opacity, shifted along a random sun azimuth.
* Ice and droplets absorb short-wave infrared: ``L`` falls beyond 1500 nm, more for cirrus.
* Water vapour above the cloud dims B09 and all but closes B10: with a scale height of 2 km,
  a cloud at height ``h`` sends ``T0 ** exp(-h / 2 km)`` of its light. Cirrus shows in B10,
  low cumulus hardly.
* The bands look at a cloud one after the other, from places up to 17 km apart along the orbit:
  a cloud at height ``h`` moves by ``h * v * dt_b / H`` between them (``v = 6.7 km/s`` over
  ground, ``H = 786 km``).
* Light scattered on its way up blurs the ground under cloud. Gaps without data are left out.

A channel of zeros is an absent band and stays zero.

References
----------
Beer-Lambert's law for ``a``, Ångström's law for ``k_b``; order and delay of the bands:
Heiselberg, Remote Sensing 11 (2019) 2873; vapour bands: Gao et al., Remote Sensing of Environment
(1993), cirrus detection at 1.38 um.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geodecloud.models.card import PRIOR_PX
from geodecloud.restore.ground_around import block_means
from geodecloud.restore.relight import SHADOW_OPACITY
from geodecloud.restore.shade import cast, throws_shadow

Array = NDArray[np.float32]

#: kind of sky -> how often it is drawn; from "clear" the network learns to change nothing
SKIES = {
    "clear": 0.2, "veil": 0.15, "cirrus": 0.15, "cumulus": 0.33, "deck": 0.17, "overcast": 0.0, "fair": 0.0,
}  # fmt: skip
#: kind of sky -> heights of its clouds, km
HEIGHTS_KM = {
    "clear": (0.0, 0.0),
    "veil": (0.5, 8.0),
    "cirrus": (6.0, 11.0),
    "cumulus": (0.6, 4.0),
    "deck": (0.6, 7.0),
    "overcast": (0.6, 7.0),
    "fair": (0.6, 2.5),
}
#: wavelength in nm -> delay in s after the first band, Sentinel-2 MSI
DELAYS_S = {
    443: 2.314, 492: 0.0, 560: 0.527, 665: 1.005, 704: 1.269, 740: 1.525, 783: 1.790,
    833: 0.264, 865: 2.055, 945: 2.586, 1374: 0.851, 1614: 1.468, 2202: 2.085,
}  # fmt: skip
#: Distance of one cloud to the next under a fair sky, px: many small ones, of 50 m to 1 km.
_FAIR_PX = (15, 120)
#: How often nothing is known of where shadows lie, and how often what is told is wrong; how much nearer and further than it does
#: a shadow may lie at most, as a share; and by how much the direction is off, in radians (standard deviation).
_NO_SHADE, _WRONG_SHADE, _SHADE_RANGE, _SHADE_TURN = 0.2, 0.1, (0.1, 0.9), 0.06
#: Shift in m per km of height and second of delay: 1000 * 6.7 / 786.
_PARALLAX_M = 8.5


@dataclass(frozen=True)
class SimulatedPair:
    """One training example; arrays are float32, reflectance unitless.

    Attributes
    ----------
    cloudy, clear : (C, H, W) reflectance
    opacity, shadow : (H, W) in [0, 1], opacity at 560 nm, the largest of where the bands see the
        cloud, and share of sunlight lost
    shade : in [0, 1], of blocks of `PRIOR_PX`: where the clouds may throw their shadow, as far as a scene would tell
        (`geodecloud.restore.shade`): seldom all wrong, sometimes nowhere; None: not asked for
    sun_azimuth_deg : clockwise from the top; None: no shadow was cast
    """

    cloudy: Array
    clear: Array
    opacity: Array
    shadow: Array
    shade: Array | None = None
    sun_azimuth_deg: float | None = None

    @property
    def attention(self) -> Array:
        """(H, W) in [0, 1]: what the attention map should be, cloud or shadow.

        A shadow counts as soon as it takes a sixth of the light, and never as much as cloud that hides the ground.
        """
        return np.maximum(self.opacity, np.minimum(1.5 * self.shadow, SHADOW_OPACITY))


def fractal_field(
    size_px: int,
    beta: float,
    rng: np.random.Generator,
    stretch: float = 1.0,
    outer_px: float = np.inf,
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
    outer_px : float
        Structures longer than that have no more power than those of this length.

    Returns
    -------
    (size_px, size_px) float32
    """
    fy = np.fft.fftfreq(size_px)[:, None]
    fx = np.fft.rfftfreq(size_px)[None, :]
    angle = rng.uniform(0, np.pi)
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = -fx * np.sin(angle) + fy * np.cos(angle)
    f = np.maximum(np.hypot(along * stretch, across), 1 / outer_px)
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
    skies: Mapping[str, float] | None = None,
    gaps: NDArray[np.bool_] | None = None,
    pixel_m: float = 10.0,
    with_shade: bool = False,
    shadow_share: float = 0.6,
) -> SimulatedPair:
    """Put one random sky over a clear patch.

    Parameters
    ----------
    clear : (C, H, W) float32, reflectance
    wavelengths_nm : sequence of C floats
    rng : numpy Generator; the same state gives the same sky
    textures : arrays (C, h, w) of cloud reflectance, mirrored at their edges where the patch is larger
    texture_share : how often one of them is used, 0 to 1
    skies : kind of sky -> how often it is drawn; None: `SKIES`
    gaps : (C, H, W), where a channel has no data and is 0; None: where all channels are 0
    pixel_m : side of a pixel in m: how far shadows fall, and clouds move between the bands
    shadow_share : how often clouds that hide the ground throw a shadow into the patch
    with_shade : whether to draw what a scene would tell of where shadows lie, too; all else stays the same

    Raises
    ------
    ValueError
        If the number of wavelengths is not the number of channels.
    """
    channels, height, width = clear.shape
    if len(wavelengths_nm) != channels:
        raise ValueError(f"{len(wavelengths_nm)} wavelengths for {channels} channels")
    wavelengths = np.asarray(wavelengths_nm, dtype=np.float32)

    skies = SKIES if skies is None else skies
    sky = str(rng.choice(list(skies), p=list(skies.values())))
    height_km = float(rng.uniform(*HEIGHTS_KM[sky]))
    side = 2 * max(height, width)  # room for the shadow's shift; also hides periodicity
    opacity_field = _opacity(sky, side, rng)
    if sky in ("cumulus", "veil") and rng.random() < 0.25:  # a second layer above
        opacity_field = 1 - (1 - opacity_field) * (1 - _opacity("cirrus", side, rng))
    here = np.s_[side // 4 : side // 4 + height, side // 4 : side // 4 + width]
    seen = _with_parallax(opacity_field, wavelengths, height_km, rng, pixel_m)[:, *here]
    opacity = seen[clear.any(axis=(1, 2))].max(axis=0, initial=0)

    shadow, shift = np.zeros((height, width), np.float32), None
    if sky in ("cumulus", "deck", "fair") and rng.random() < shadow_share:
        # the sun's zenith angle is 15 to 70 degrees
        distance = min(1000 / pixel_m * height_km * np.tan(rng.uniform(0.26, 1.22)), side / 4)
        azimuth = rng.uniform(0, 2 * np.pi)
        shift = round(distance * np.sin(azimuth)), round(distance * np.cos(azimuth))
        moved = np.roll(opacity_field, shift, axis=(0, 1))[here]
        shadow = (rng.uniform(0.2, 0.65) * moved).astype(np.float32)

    gamma = rng.uniform(0, 0.4) if sky in ("veil", "cirrus") else rng.uniform(0, 0.15)
    k = ((560 / wavelengths) ** gamma)[:, None, None]
    opacity_b = 1 - (1 - seen) ** k
    # skylight fills shadows, and there is more of it at short wavelengths
    span = max(float(np.ptp(wavelengths)), 1.0)
    fill = (0.8 + 0.2 * (wavelengths - wavelengths.min()) / span)[:, None, None]
    sigma = rng.uniform(0.3, 2.0)
    ground = clear + opacity * (_blur(clear, sigma, gaps) - clear)
    ground *= 1 - shadow[None] * fill
    if textures and rng.random() < texture_share:
        cloud = _real_cloud(clear.shape, rng, textures)
    else:
        cloud = _cloud_reflectance(clear.shape, wavelengths, rng)
        cloud *= _cloud_spectrum(clear, wavelengths, height_km, rng)[:, None, None]
    cloudy = (1 - opacity_b) * ground + opacity_b * cloud
    cloudy += rng.normal(0, rng.uniform(0, 0.004), clear.shape)
    cloudy[~clear.any(axis=(1, 2))] = 0
    pair = SimulatedPair(cloudy.astype(np.float32), clear, opacity, shadow)
    if shift is not None:
        down, right = shift
        pair = replace(pair, sun_azimuth_deg=math.degrees(math.atan2(-right, down)) % 360)
    if with_shade:
        pair = replace(pair, shade=_draw_shade(opacity_field, shift, here, rng))
    return pair


def _draw_shade(
    field: Array, shift: tuple[int, int] | None, here: tuple[slice, slice], rng: np.random.Generator
) -> Array:
    """What a scene would tell of where its clouds throw shadows (h, w), in blocks of `PRIOR_PX`.

    Parameters
    ----------
    field : opacity, of more than is seen
    shift : down and right in px, of the shadows; None: there are none
    here : what is seen of it
    """
    rows, cols = here
    top, left = rows.start % PRIOR_PX, cols.start % PRIOR_PX
    height, width = (-(-(each.stop - each.start) // PRIOR_PX) for each in here)
    blocks = throws_shadow(block_means(field[top:, left:], PRIOR_PX))
    if shift is None or rng.random() < _WRONG_SHADE:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(1, len(blocks) / 4)
    else:
        angle = math.atan2(shift[0], shift[1]) + rng.normal(0, _SHADE_TURN)
        distance = math.hypot(*shift) / PRIOR_PX
    nearer, further = rng.uniform(*_SHADE_RANGE, 2)
    toward = math.sin(angle), math.cos(angle)
    shade = cast(blocks, toward, distance * (1 - nearer), distance * (1 + further))
    y, x = rows.start // PRIOR_PX, cols.start // PRIOR_PX
    return shade[y : y + height, x : x + width] * np.float32(rng.random() >= _NO_SHADE)


def _blur(clear: Array, sigma: float, gaps: NDArray[np.bool_] | None) -> Array:
    """Ground (C, H, W) blurred over the pixels with data; gaps stay as they are."""
    if gaps is None:
        gaps = np.logical_not(clear.any(axis=0, keepdims=True))
    blurred: Array = gaussian_filter(clear, (0, sigma, sigma))
    if not gaps.any():
        return blurred
    share = gaussian_filter((~gaps).astype(np.float32), (0, sigma, sigma))
    return np.where(gaps, clear, blurred / np.maximum(share, 1e-6))


def _with_parallax(
    field: Array,
    wavelengths: Array,
    height_km: float,
    rng: np.random.Generator,
    pixel_m: float,
) -> Array:
    """The field as each band saw it, (C, side, side), moved along one random direction."""
    known = np.array(list(DELAYS_S))
    nearest = known[np.abs(known[None] - wavelengths[:, None]).argmin(axis=1)]
    delays = np.array([DELAYS_S[int(nm)] for nm in nearest])
    shifts = _PARALLAX_M / pixel_m * height_km * (delays - DELAYS_S[560])
    angle = rng.uniform(0, 2 * np.pi)
    return np.stack(
        [
            np.roll(field, (round(s * np.sin(angle)), round(s * np.cos(angle))), axis=(0, 1))
            for s in shifts
        ]
    )


def _cloud_spectrum(
    clear: Array, wavelengths: Array, height_km: float, rng: np.random.Generator
) -> Array:
    """Share of the cloud's light that is not absorbed, (C,) in [0, 1]."""
    ice = height_km > 5
    at_1600 = rng.uniform(0.2, 0.7) if ice else rng.uniform(0.55, 1.0)
    at_2200 = at_1600 * (rng.uniform(0.5, 0.9) if ice else rng.uniform(0.6, 0.95))
    left = np.ones(len(wavelengths), np.float32)
    left[wavelengths > 1500] = at_1600
    left[wavelengths > 2000] = at_2200
    above = np.exp(-height_km / 2)
    cirrus = np.abs(wavelengths - 1374) < 10
    vapour = np.abs(wavelengths - 945) < 10
    left[cirrus] = 10 ** (-rng.uniform(2.5, 5) * above)
    if clear[cirrus].any():  # without B10 the product is corrected, B09 with it
        left[vapour] = rng.uniform(0.15, 0.6) ** above
    return left


def _opacity(sky: str, side: int, rng: np.random.Generator) -> Array:
    """Opacity field (side, side) in [0, 1] of one kind of sky."""
    if sky == "clear":
        return np.zeros((side, side), np.float32)
    if sky == "veil":  # the whole scene at reduced contrast
        veil = rng.uniform(0.12, 0.65) * (1 + rng.uniform(0, 0.4) * fractal_field(side, 3.5, rng))
        return np.clip(veil, 0, 0.85).astype(np.float32)
    if sky == "overcast":  # no pixel without cloud: what is under it is what ground is in the mean
        layer = rng.uniform(1, 6) * (1 + rng.uniform(0, 0.5) * fractal_field(side, 3.2, rng))
        return (1 - np.exp(-np.clip(layer, 0.3, None))).astype(np.float32)
    # beta, optical depth per standard deviation of the field, cover, stretch
    ranges = {
        "cirrus": ((2.8, 3.6), (0.15, 0.8), (0.3, 0.95), (1.0, 6.0)),
        "cumulus": ((2.6, 3.6), (0.5, 6.0), (0.05, 0.6), (1.0, 1.5)),
        "deck": ((2.6, 3.8), (1.0, 6.0), (0.6, 1.0), (1.0, 2.0)),
        "fair": ((3.0, 4.5), (1.0, 8.0), (0.02, 0.3), (1.0, 1.3)),
    }[sky]
    beta, depth, cover, stretch = (rng.uniform(*low_high) for low_high in ranges)
    outer = np.exp(rng.uniform(*np.log(_FAIR_PX))) if sky == "fair" else np.inf
    field = fractal_field(side, beta, rng, stretch, outer)
    level = np.quantile(field, 1 - cover)
    return (1 - np.exp(-depth * np.clip(field - level, 0, None))).astype(np.float32)


def _real_cloud(
    shape: tuple[int, ...], rng: np.random.Generator, textures: Sequence[Array]
) -> Array:
    """Reflectance (C, H, W) of a real cloud, turned and brightened at random."""
    _, height, width = shape
    texture = textures[int(rng.integers(len(textures)))]
    short = [max(0, n - there) for n, there in zip((height, width), texture.shape[1:], strict=True)]
    if any(short):
        texture = np.pad(texture, [(0, 0), (0, short[0]), (0, short[1])], mode="symmetric")
    y = rng.integers(texture.shape[1] - height + 1)
    x = rng.integers(texture.shape[2] - width + 1)
    crop = texture[:, y : y + height, x : x + width]
    crop = crop[:, :: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    return crop * np.float32(rng.uniform(0.7, 1.3))


def _cloud_reflectance(
    shape: tuple[int, ...], wavelengths: Array, rng: np.random.Generator
) -> Array:
    """Reflectance (C, H, W) of a cloud: bright, textured, slightly coloured."""
    _, height, width = shape
    brightness = rng.uniform(0.25, 1.0)
    strength = rng.uniform(0, 1.2) * 0.3
    field = fractal_field(2 * max(height, width), rng.uniform(2.2, 3.4), rng)[:height, :width]
    relief = np.clip(1 + strength * field, 0.2, 2.0)
    middle, span = float(wavelengths.mean()), max(float(np.ptp(wavelengths)), 1.0)
    tilt = 1 + rng.uniform(-0.2, 0.2) * (wavelengths - middle) / span
    return (brightness * tilt[:, None, None] * relief[None]).astype(np.float32)
