"""How far off a network's pixels are in the mean, as its card has it: tables, measured on simulated clouds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Evidence:
    """What the expected error of pixels depends on; arrays of one shape.

    Attributes
    ----------
    opacity : in [0, 1]
    unknown : in [0, 1], how far the ground around is not known
    brightness : reflectance of the result, mean over the bands
    difference : of the result from the ground around, absolute, mean over the bands
    """

    opacity: Array
    unknown: Array
    brightness: Array
    difference: Array


@dataclass(frozen=True)
class ErrorTable:
    """Expected absolute error of replaced pixels, mean over the bands, in reflectance.

    ``error + brightness * b + difference * d`` with the brightness b and difference d of `Evidence`, where each of
    the three is a table: linear between its nodes, and beyond them as at the last one.

    Attributes
    ----------
    opacity : nodes, rising, in [0, 1]
    unknown : nodes, rising, in [0, 1]; a single one: all alike
    error, brightness, difference : for each opacity a row of as many numbers, none below 0, as `unknown` has nodes
    measured : on what, for people
    """

    opacity: tuple[float, ...]
    unknown: tuple[float, ...]
    error: Rows
    brightness: Rows
    difference: Rows
    measured: str = ""

    def __post_init__(self) -> None:
        for axis in (self.opacity, self.unknown):
            if not axis or not np.isfinite(axis).all() or (np.diff(axis) <= 0).any():
                raise ValueError(f"the nodes of the table of errors are {axis}, and do not rise")
        for rows in (self.error, self.brightness, self.difference):
            if [len(row) for row in rows] != [len(self.unknown)] * len(self.opacity):
                raise ValueError("a table of errors has not a number for each pair of its nodes")
            if not (np.isfinite(rows) & (np.array(rows) >= 0)).all():
                raise ValueError("a table of errors holds a number that is none of an error")

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ErrorTable:
        """The table as JSON holds it, with lists."""
        nodes = {name: tuple(float(node) for node in fields[name]) for name in _NODES}
        rows = {
            name: tuple(tuple(float(number) for number in row) for row in fields[name])
            for name in _TABLES
        }
        return cls(**{**fields, **nodes, **rows})

    def at(self, seen: Evidence) -> Array:
        """The expected error of pixels, float32."""
        numbers = np.array([self.error, self.brightness, self.difference], np.float32)
        found = np.zeros(seen.opacity.shape, np.float32)
        for number, term in zip(
            numbers.ravel(), terms(seen, self.opacity, self.unknown), strict=True
        ):
            found += number * term
        return found


_NODES, _TABLES = ("opacity", "unknown"), ("error", "brightness", "difference")


def terms(seen: Evidence, opacity: Sequence[float], unknown: Sequence[float]) -> Iterator[Array]:
    """What each number of a table counts for each pixel, in the order of `ErrorTable`'s tables, rows and nodes.

    Parameters
    ----------
    opacity, unknown : nodes
    """
    rows, columns = _shares(seen.opacity, opacity), _shares(seen.unknown, unknown)
    for factor in (np.float32(1), seen.brightness, seen.difference):
        for row in rows:
            for column in columns:
                yield row * column * factor


def _shares(values: Array, nodes: Sequence[float]) -> list[Array]:
    """How much each node counts for each value: linear between the two beside it, and 1 in sum."""
    return [np.interp(values, nodes, hat).astype(np.float32) for hat in np.eye(len(nodes))]
