"""How far an image is from the truth: sums over pixels that can be added up, and the scores made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def psnr_of(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error, for a peak of 1; infinity of 0."""
    return math.inf if mse == 0 else -10 * math.log10(mse)


@dataclass(frozen=True)
class Errors:
    """Sums over the pixels of images and their truths; all scores are of reflectance clipped to [0, 1].

    Attributes
    ----------
    pixels, bands : how many were compared
    squared, absolute : sums over pixels of the means over bands
    angle : sum of the angles between spectra in degrees, over `angled` pixels: those that are not 0 in all bands
    """

    pixels: int = 0
    bands: int = 0
    squared: float = 0.0
    absolute: float = 0.0
    angle: float = 0.0
    angled: int = 0

    @classmethod
    def of(
        cls,
        image: NDArray[np.floating],
        truth: NDArray[np.floating],
        where: NDArray[np.bool_],
    ) -> Errors:
        """Errors of an image.

        Parameters
        ----------
        image, truth : (C, H, W) reflectance
        where : (H, W), the pixels that count
        """
        a, b = (np.clip(x[:, where].astype(np.float64), 0, 1) for x in (image, truth))
        lengths = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
        some = lengths > 0
        cosine = np.clip((a * b).sum(axis=0)[some] / lengths[some], -1, 1)
        return cls(
            pixels=int(np.count_nonzero(where)),
            bands=len(a),
            squared=float(((a - b) ** 2).mean(axis=0).sum()),
            absolute=float(np.abs(a - b).mean(axis=0).sum()),
            angle=float(np.degrees(np.arccos(cosine)).sum()),
            angled=int(np.count_nonzero(some)),
        )

    def __add__(self, other: Errors) -> Errors:
        """Errors of both together."""
        return Errors(
            self.pixels + other.pixels,
            max(self.bands, other.bands),
            self.squared + other.squared,
            self.absolute + other.absolute,
            self.angle + other.angle,
            self.angled + other.angled,
        )

    def __mul__(self, factor: float) -> Errors:
        """The same means over so many times as many pixels."""
        return Errors(
            round(self.pixels * factor),
            self.bands,
            self.squared * factor,
            self.absolute * factor,
            self.angle * factor,
            round(self.angled * factor),
        )

    @property
    def mae(self) -> float:
        """Mean absolute error in reflectance; NaN of no pixels."""
        return self.absolute / self.pixels if self.pixels else math.nan

    @property
    def psnr_db(self) -> float:
        """PSNR over all bands together; infinity where nothing differs, NaN of no pixels."""
        return psnr_of(self.squared / self.pixels) if self.pixels else math.nan

    @property
    def sam_deg(self) -> float:
        """Mean angle between spectra in degrees; NaN of a single band, which has no angle."""
        return self.angle / self.angled if self.angled and self.bands > 1 else math.nan
