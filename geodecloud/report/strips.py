"""Scene and result read a strip at a time, so that their size does not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da
import numpy as np

from geodecloud.compute.engine import Threads
from geodecloud.errors import SceneIOError
from geodecloud.report.pixels import Comparison, Layers, Rules

#: The most bytes of a strip of the scene: a Sentinel-2 tile of 13 bands has whole blocks.
_STRIP_BYTES = 160 * 2**20


def compare(
    layers: Layers,
    rules: Rules,
    rows: int,
    names: Callable[[int], str | None],
    workers: int | None = None,
) -> Comparison:
    """Compare scene and result, strip by strip.

    Parameters
    ----------
    rows : of a strip
    names : gives a file's name by its number

    Raises
    ------
    UnreadableError
        If the result cannot be read.
    SceneIOError
        If the scene cannot.
    """
    computer, done = Threads(workers), Comparison(rules, layers)
    for top in range(0, layers.scene.shape[-2], rows):
        here = slice(top, top + rows)
        ours = [layers.scene, layers.valid, layers.may_change, layers.mask]
        scene, valid, may_change, mask = _compute(computer, ours, here)
        theirs = [layers.result, layers.codes, *layers.masks.values()]
        try:
            result, codes, *masks = _compute(computer, theirs, here)
        except SceneIOError as error:
            raise UnreadableError(str(error), top) from error
        done.take(top, scene, result, valid, may_change, codes)
        if mask is not None:
            done.look_at_masks(top, mask, dict(zip(layers.masks, masks, strict=True)), names)
    return done


class UnreadableError(SceneIOError):
    """A result that cannot be read, from a row on where that is known."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


def strip_rows(count: int, width: int, dtype: str) -> int:
    """Rows of a strip: a block of a COG's, or a part of one where scenes are wide."""
    rows, row_bytes = 512, count * width * np.dtype(dtype).itemsize
    while rows > 64 and rows * row_bytes > _STRIP_BYTES:
        rows //= 2
    return rows


def _compute(computer: Threads, arrays: Sequence[da.Array | None], rows: slice) -> list[Any]:
    """Rows of arrays (..., y, x), computed together; None stays None."""
    there = [array[..., rows, :] for array in arrays if array is not None]
    found = iter(computer.compute(there))
    return [None if array is None else next(found) for array in arrays]
