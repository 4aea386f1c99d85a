"""A veil over a whole picture: told from what the whole of it looks like, and lifted.

A veil of one opacity ``a`` and one colour ``c`` leaves of the ground::

    seen = (1 - a) * ground + a * c

so contrast and saturation fall and the darkest pixel is grey. No window of some hundred px can tell that from
ground that is grey and even; a whole picture mostly can. A few small perceptrons guess opacity and
colour from numbers about all of its pixels; their mean holds for every window of the picture, so
the result does not depend on how the picture is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float32]

#: Percentiles of each channel and of each difference of two.
SHARES = (1, 5, 25, 50, 75, 95, 99)
#: Numbers that `describe` gives.
NUMBERS = 2 * 3 * len(SHARES) + 6
#: A veil thinner than this is left: what is guessed then is often bare, even ground.
LEAST_OPACITY = 0.35
#: Pixels along the longer side of a picture that are looked at, at most twice as many.
SAMPLE_PX = 512
#: Its tensors in a weights file begin with this.
PREFIX = "veil."
_PAIRS = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class Veil:
    """Opacity in (0, 1), and colour of each channel in [0, 1]."""

    opacity: float
    colour: tuple[float, ...]

    def lift(self, image: NDArray[np.float32]) -> Array:
        """The ground under the veil: (C, H, W) -> (C, H, W)."""
        colour = np.asarray(self.colour, np.float32)[:, None, None]
        left = np.float32(1 - self.opacity)
        return ((image - np.float32(self.opacity) * colour) / left).astype(np.float32)


def describe(pixels: NDArray[np.float32]) -> Array:
    """Numbers about all pixels of a picture, whatever their order.

    Percentiles of the channels and of their differences, percentiles of the largest less the smallest
    channel of each pixel, and the correlations of the channels.

    Parameters
    ----------
    pixels : (3, N) in [0, 1], blue, green, red

    Returns
    -------
    (48,) float32
    """
    differences = np.stack([pixels[i] - pixels[j] for i, j in _PAIRS])
    levels = np.percentile(np.concatenate([pixels, differences]), SHARES, axis=1).T
    saturation = np.percentile(np.ptp(pixels, axis=0), (5, 50, 95))
    centred = pixels - pixels.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1) + 1e-3  # even pictures have no correlation
    alike = [(centred[i] * centred[j]).mean() / (spread[i] * spread[j]) for i, j in _PAIRS]
    return np.concatenate([levels.ravel(), saturation, alike]).astype(np.float32)


def find_veil(tensors: Mapping[str, NDArray[np.float32]], pixels: Array) -> Veil | None:
    """Guess the veil over a picture; None: there is none worth lifting.

    Parameters
    ----------
    tensors : of a weights file; ``veil.2.0.weight`` belongs to the first layer of the third perceptron. Layers
        have ReLU between them and lead from the 48 numbers of `describe` to the logits of opacity
        and three colours
    pixels : (3, N) in [0, 1], all pixels with data, or some spread evenly
    """
    if not pixels.size:
        return None
    opacity, *colour = guess(tensors, describe(pixels)[None])[0].tolist()
    return Veil(opacity, tuple(colour)) if opacity >= LEAST_OPACITY else None


def guess(tensors: Mapping[str, NDArray[np.float32]], numbers: Array) -> Array:
    """Opacity and colour of N pictures: (N, 48) -> (N, 4)."""
    names = [name.split(".") for name in sorted(tensors) if name.startswith(PREFIX)]
    layers = sorted({(member, int(layer)) for _, member, layer, _ in names})
    guesses = []
    for which in sorted({member for member, _ in layers}):
        signal = numbers
        for member, layer in layers:
            if member != which:
                continue
            signal = np.maximum(signal, 0) if layer else signal
            part = f"{PREFIX}{member}.{layer}"
            signal = signal @ tensors[f"{part}.weight"].T + tensors[f"{part}.bias"]
        guesses.append(expit(signal))
    return np.mean(guesses, axis=0).astype(np.float32)
