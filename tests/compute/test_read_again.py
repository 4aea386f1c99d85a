"""An array that is read again has tasks of its own, and gives the same."""

from __future__ import annotations

from collections.abc import Callable

import dask
import dask.array as da
import numpy as np
import pytest

from geodecloud.compute.blocks import read_again

PLAIN = np.arange(48.0).reshape(6, 8)
#: What is made of an array, and how many of its nine blocks that needs.
MADE: dict[str, tuple[Callable[[da.Array], da.Array], int]] = {
    "itself": (lambda a: a, 9),
    "a slice of a comparison": (lambda a: (a > 7)[1:3], 6),
    "in one block": (lambda a: a.rechunk(-1, method="tasks")[::2], 9),
    "stacked and summed": (lambda a: da.stack([a, a + 1])[:, 1:].sum(axis=0), 9),
    "a part in one block": (lambda a: a[:1].rechunk(-1, method="tasks")[:, 2:4], 3),
}


@pytest.mark.parametrize("kind", MADE)
def test_every_block_is_read_once_more_and_the_numbers_are_the_same(kind: str) -> None:
    reads = []

    def read(block: np.ndarray) -> np.ndarray:
        reads.append(block.shape)
        return block

    make, count = MADE[kind]
    array = da.from_array(PLAIN, chunks=(2, 3)).map_blocks(read, meta=np.empty((0, 0)))
    made = make(array)
    again = read_again(made, "again")
    assert not set(made.__dask_graph__()) & set(again.__dask_graph__())
    reads.clear()
    alone = again.compute(scheduler="sync")
    assert len(reads) == count
    reads.clear()
    both = dask.compute(made, again, scheduler="sync")
    assert len(reads) == 2 * count
    expected = make(da.from_array(PLAIN, chunks=(6, 8))).compute(scheduler="sync")
    for found in (alone, *both):
        np.testing.assert_array_equal(found, expected)


def test_what_is_not_to_be_computed_once_more_is_shared() -> None:
    looked = []

    def look(block: np.ndarray) -> np.ndarray:
        looked.append(block.shape)
        return block

    seen = da.from_array(PLAIN, chunks=(2, 3)).map_blocks(look, meta=np.empty((0, 0)))
    clear = (seen > 5)[1:5]
    again = read_again(clear, "again", [seen])
    looked.clear()
    first, second = dask.compute(clear, again, scheduler="sync")
    assert len(looked) == 9
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, (PLAIN > 5)[1:5])
