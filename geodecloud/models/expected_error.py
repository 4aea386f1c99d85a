"""How far off a network's pixels are in the mean, as its card has it: factors, measured on simulated clouds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """What the expected error of pixels depends on; arrays of one shape.

    Attributes
    ----------
    opacity : in [0, 1]
    unknown : in [0, 1], how far the ground around is not known
    brightness : reflectance of the result, mean over the bands
    shortest : reflectance of the result in the band of the shortest wavelength, which haze brightens most
    difference : of the result from the ground around, absolute, mean over the bands
    spread : of the result and that of the mirrored scene, standard deviation, root mean square over the bands
    uneven : standard deviation of the clear ground around, in reflectance, root mean square over the bands
    """

    opacity: Array
    unknown: Array
    brightness: Array
    shortest: Array
    difference: Array
    spread: Array
    uneven: Array


#: What the error depends on, by name.
NAMES = tuple(field.name for field in dataclasses.fields(Evidence))


@dataclass(frozen=True)
class Curve:
    """What one of these does to the error: linear between its nodes, and beyond them as at the last one.

    Attributes
    ----------
    nodes : rising; a single one: all alike
    effects : at each, the logarithm of a factor
    """

    nodes: tuple[float, ...]
    effects: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.nodes or not np.isfinite(self.nodes).all() or (np.diff(self.nodes) <= 0).any():
            raise ValueError(f"the nodes of a curve of errors are {self.nodes}, and do not rise")
        if len(self.effects) != len(self.nodes) or not np.isfinite(self.effects).all():
            raise ValueError("a curve of errors has not a number for each of its nodes")

    def at(self, values: Array) -> NDArray[np.float64]:
        """The effect of each value."""
        return np.interp(values, self.nodes, self.effects)


@dataclass(frozen=True)
class ErrorTable:
    """Expected absolute error of replaced pixels, mean over the bands, in reflectance.

    ``mean * exp(sum of effects)``, with the effect of each part of `Evidence` from its own curve.

    Attributes
    ----------
    mean : above 0
    opacity, unknown, brightness, shortest, difference, spread, uneven : curves; None: it has no effect
    measured : on what, for people
    """

    mean: float
    opacity: Curve | None = None
    unknown: Curve | None = None
    brightness: Curve | None = None
    shortest: Curve | None = None
    difference: Curve | None = None
    spread: Curve | None = None
    uneven: Curve | None = None
    measured: str = ""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and self.mean > 0):
            raise ValueError(f"the mean of a table of errors is {self.mean}, and not above 0")

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ErrorTable | None:
        """The table as JSON holds it, with lists; None: it is of the form that older cards have."""
        if "error" in fields:
            return None
        curves = {
            name: Curve(*(tuple(map(float, fields[name][part])) for part in ("nodes", "effects")))
            for name in NAMES
            if fields.get(name) is not None
        }
        return cls(**{**fields, **curves, "mean": float(fields["mean"])})

    def at(self, seen: Evidence) -> Array:
        """The expected error of pixels, float32."""
        effect = np.zeros(seen.opacity.shape)
        for name in NAMES:
            curve: Curve | None = getattr(self, name)
            if curve is not None:
                effect += curve.at(getattr(seen, name))
        return (self.mean * np.exp(effect)).astype(np.float32)
