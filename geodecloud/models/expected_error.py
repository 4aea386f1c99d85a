"""How far off a network's pixels are in the mean, as its card has it: a table, measured on simulated clouds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ErrorTable:
    """Expected absolute error of replaced pixels, mean over the bands, in reflectance.

    It is linear between the nodes of its axes, and beyond them as at the last one.

    Attributes
    ----------
    opacity : nodes, rising, in [0, 1]
    unknown : nodes, rising, in [0, 1], of how far the ground around is not known; a single one: all alike
    error : for each opacity a row of as many errors as `unknown` has nodes
    measured : on what, for people
    """

    opacity: tuple[float, ...]
    unknown: tuple[float, ...]
    error: tuple[tuple[float, ...], ...]
    measured: str = ""

    def __post_init__(self) -> None:
        for axis in (self.opacity, self.unknown):
            if not axis or not np.isfinite(axis).all() or (np.diff(axis) <= 0).any():
                raise ValueError(f"the nodes of the table of errors are {axis}, and do not rise")
        lengths = {len(row) for row in self.error}
        if len(self.error) != len(self.opacity) or lengths != {len(self.unknown)}:
            raise ValueError("the table of errors has not a number for each pair of its nodes")
        numbers = np.array(self.error)
        if not (np.isfinite(numbers) & (numbers >= 0)).all():
            raise ValueError("the table of errors holds a number that is no error")

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ErrorTable:
        """The table as JSON holds it, with lists."""
        return cls(
            tuple(float(node) for node in fields["opacity"]),
            tuple(float(node) for node in fields["unknown"]),
            tuple(tuple(float(error) for error in row) for row in fields["error"]),
            **{key: value for key, value in fields.items() if key not in _NUMBERS},
        )

    def at(self, opacity: Array, unknown: Array) -> Array:
        """The expected error, float32, of pixels with an opacity and unknown ground in [0, 1] each."""
        found = np.zeros(opacity.shape, np.float32)
        columns = node_shares(unknown, self.unknown)
        for share, errors in zip(node_shares(opacity, self.opacity), self.error, strict=True):
            for column, error in zip(columns, errors, strict=True):
                found += share * column * np.float32(error)
        return found


_NUMBERS = ("opacity", "unknown", "error")


def node_shares(values: Array, nodes: Sequence[float]) -> list[Array]:
    """How much each node counts for each value: linear between the two beside it, and 1 in sum."""
    return [np.interp(values, nodes, hat).astype(np.float32) for hat in np.eye(len(nodes))]
