"""Blocks are stored row by row, and what lies further down is not read long before it is needed."""

from __future__ import annotations

import threading
import time
from typing import Any

import dask.array as da
import numpy as np
import pytest

from geodecloud.compute.blocks import in_turn
from geodecloud.compute.chunks import map_chunks_with_halo
from geodecloud.compute.engine import Threads


class Target:
    """Takes blocks, and remembers where they went and what had been read by then."""

    def __init__(self, shape: tuple[int, ...], reads: list[int]) -> None:
        self.pixels, self.reads = np.zeros(shape), reads
        self.places: list[tuple[int, ...]] = []
        self.read_until: list[int] = []

    def __setitem__(self, place: tuple[slice, ...], block: np.ndarray) -> None:
        self.pixels[place] = block
        self.places.append(tuple(part.start for part in place))
        self.read_until.append(max(self.reads, default=-1))


@pytest.mark.parametrize("workers", [1, 4])
def test_blocks_are_stored_in_rows(workers: int) -> None:
    rng, lock = np.random.default_rng(0), threading.Lock()
    waits = iter(rng.uniform(0, 4e-3, 200))

    def slow(block: np.ndarray) -> np.ndarray:
        with lock:
            wait = next(waits)
        time.sleep(wait)
        return block

    plain = rng.random((2, 50, 70))
    array = da.from_array(plain, chunks=(2, 10, 10)).map_blocks(slow, meta=np.empty((0,) * 3))
    target = Target(plain.shape, [])
    Threads(workers).store([array], [target])
    np.testing.assert_array_equal(target.pixels, plain)
    turns = [(0, y, x) for y in range(0, 50, 10) for x in range(0, 70, 10)]
    assert sorted(target.places) == turns
    # blocks that are made side by side may overtake each other, by no more than a row
    least = 1 if workers == 1 else 8
    assert all(abs(turns.index(at) - i) < least for i, at in enumerate(target.places))


def test_a_row_is_read_when_the_one_before_the_last_is_done() -> None:
    """A chunk needs its neighbours: a row of chunks cannot be made before the next is read, and the rest can wait."""
    reads: list[int] = []

    def read(block: np.ndarray) -> np.ndarray:
        reads.append(int(block[0, 0, 0]) // 1000)
        return block

    def mean(image: np.ndarray, *, core: Any, padded: Any) -> tuple[np.ndarray]:
        return (image[:, *core.relative_to(padded).slices_yx] + image.mean() * 0,)

    rows, cols = np.mgrid[:120, :80]
    plain = (rows * 1000 + cols)[None].astype(float)
    array = da.from_array(plain, chunks=(1, 10, 10)).map_blocks(read, meta=np.empty((0,) * 3))
    (made,) = map_chunks_with_halo(mean, [(array, "cyx")], 10, [(1, float)])
    target = Target(plain.shape, reads)
    Threads(1).store([made], [target])
    np.testing.assert_array_equal(target.pixels, plain)
    for (_, y, _), until in zip(target.places, target.read_until, strict=True):
        assert until <= y + 30, f"row {until} was read before row {y} was stored"


def test_an_array_without_blocks_stays_one() -> None:
    (array,) = in_turn([da.zeros((0, 5), chunks=(1, 5))])
    assert array.compute(scheduler="sync").shape == (0, 5)
